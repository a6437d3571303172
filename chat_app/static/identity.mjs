/** Who this page is. Each open page is somebody of its own; one that is opened again is who it was before.
 *
 * The storage keeps everybody that this browser has been: a secret, which the server turns into a public id, and the
 * nickname. A page holds a lock on who it is, so that the next page becomes somebody else.
 */
import { randomId } from "./outbox.mjs";

const PEOPLE = "chat.people";
const MINE = "chat.client";
const RELOAD_TIME = 400; // milliseconds for the page before this one to give its lock back

export class Identity {
  constructor(client, nickname) {
    this.client = client;
    this.nickname = nickname;
  }

  /** Remember the nickname. */
  rename(nickname) {
    this.nickname = nickname;
    const others = load().filter(({ client }) => client !== this.client);
    localStorage.setItem(PEOPLE, JSON.stringify([{ client: this.client, nickname }, ...others].slice(0, 20)));
  }
}

/** Become somebody: who this page was before, or who this browser was and is not now, or somebody new. */
export async function takeIdentity(wanted) {
  const people = load();
  const before = sessionStorage.getItem(MINE);
  const mine = people.filter(({ client }) => client === before);
  const named = people.filter(({ nickname }) => !wanted || nickname === wanted);
  for (const { client, nickname } of [...mine, ...named]) {
    if (await hold(client, client === before ? RELOAD_TIME : 0)) {
      sessionStorage.setItem(MINE, client);
      return new Identity(client, wanted || nickname);
    }
  }
  const client = randomId();
  await hold(client, 0);
  sessionStorage.setItem(MINE, client);
  return new Identity(client, wanted);
}

/** Hold a lock as long as the page lives; tell whether that worked. Browsers without locks share. */
function hold(client, patience) {
  if (!navigator.locks) {
    return Promise.resolve(true);
  }
  return new Promise((resolve) => {
    const options = patience ? { signal: AbortSignal.timeout(patience) } : { ifAvailable: true };
    navigator.locks
      .request(`chat.${client}`, options, (lock) => {
        resolve(lock !== null);
        return lock && new Promise(() => {});
      })
      .catch(() => resolve(false));
  });
}

function load() {
  try {
    return JSON.parse(localStorage.getItem(PEOPLE) ?? "[]");
  } catch {
    return [];
  }
}
