"""What a cluster costs: two nodes of ours, and two of the official server, on the same adapter and engine."""
