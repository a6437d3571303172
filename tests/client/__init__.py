"""The official JavaScript client, unchanged, in Node and in Chromium, against a server of ours."""
