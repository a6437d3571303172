/** The messages of the open room as elements. Text of people goes in as text, never as HTML. */
import { appendText, dayOf, hueOf, initialsOf, timeOf } from "./text.mjs";

const NEAR = 80; // pixels from the end that still count as being there
const TOGETHER = 5 * 60_000; // milliseconds within which messages of one person look like one

export class MessageList {
  #pending = new Map();
  #isPinned = true;

  /**
   * @param {HTMLElement} scroll the element that scrolls
   * @param {HTMLElement} list the list in it
   * @param {{ retry: (id: string) => void, discard: (id: string) => void }} actions
   */
  constructor(scroll, list, actions) {
    this.scroll = scroll;
    this.list = list;
    this.actions = actions;
    scroll.addEventListener("scroll", () => {
      this.#isPinned = this.isAtEnd;
    });
    const keep = new ResizeObserver(() => this.#isPinned && this.scrollToEnd());
    keep.observe(scroll); // a keyboard has opened, or the window has turned
    keep.observe(list);
  }

  get isAtEnd() {
    return this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < NEAR;
  }

  scrollToEnd() {
    this.#isPinned = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  /** Show another room. */
  show(messages, entries, me) {
    this.#pending.clear();
    this.list.replaceChildren(...messages.map((message) => makeMessage(message, me)));
    this.#arrange();
    for (const entry of entries) {
      this.showEntry(entry);
    }
    this.scrollToEnd();
  }

  /** Add a message at its place: after the others, before what is still on its way. */
  append(message, me) {
    const stays = this.#isPinned;
    const own = message.user === me ? this.#pending.get(message.id) : undefined;
    const item = makeMessage(message, me);
    if (own) {
      this.#pending.delete(message.id);
      own.remove();
    }
    const next = this.#pending.values().next().value ?? null;
    this.list.insertBefore(item, next);
    arrangeOne(item);
    for (const pending of this.#pending.values()) {
      arrangeOne(pending);
    }
    if (stays) {
      this.scrollToEnd();
    }
    return stays;
  }

  /** Add older messages above, without moving what is being read. */
  prepend(messages, me) {
    const before = this.scroll.scrollHeight;
    this.list.prepend(...messages.map((message) => makeMessage(message, me)));
    this.#arrange();
    this.scroll.scrollTop += this.scroll.scrollHeight - before;
  }

  /** Show what one has said and the log has not shown yet. */
  showEntry(entry) {
    const known = this.#pending.get(entry.id);
    const stays = this.#isPinned;
    const item = makeEntry(entry, this.actions);
    this.#pending.delete(entry.id);
    this.#pending.set(entry.id, item);
    if (known && known.nextSibling === null) {
      known.replaceWith(item);
    } else {
      known?.remove();
      this.list.append(item);
    }
    arrangeOne(item);
    if (stays) {
      this.scrollToEnd();
    }
  }

  removeEntry(id) {
    this.#pending.get(id)?.remove();
    this.#pending.delete(id);
  }

  #arrange() {
    for (const item of this.list.children) {
      arrangeOne(item);
    }
  }
}

/** Say the day before the first message of it, and the name before the first of several by one person. */
function arrangeOne(item) {
  const before = item.previousElementSibling;
  const day = dayOf(Number(item.dataset.time));
  const isNewDay = before === null || dayOf(Number(before.dataset.time)) !== day;
  if (isNewDay) {
    item.dataset.day = day;
  } else {
    delete item.dataset.day;
  }
  const continues =
    !isNewDay &&
    before.dataset.by === item.dataset.by &&
    Number(item.dataset.time) - Number(before.dataset.time) < TOGETHER;
  item.classList.toggle("continues", continues);
}

function makeMessage(message, me) {
  const item = makeItem(message, message.user !== "" && message.user === me);
  item.dataset.seq = message.seq;
  return item;
}

function makeEntry(entry, actions) {
  const item = makeItem({ ...entry, nickname: "You", user: "" }, true);
  item.dataset.id = entry.id;
  item.dataset.state = entry.state;
  if (entry.state === "failed") {
    const problem = make("p", "problem", `Not sent. ${entry.reason}`);
    if (entry.canRetry) {
      problem.append(" ", makeButton("Retry", () => actions.retry(entry.id)));
    }
    problem.append(" ", makeButton("Discard", () => actions.discard(entry.id)));
    item.append(problem);
  } else {
    item.querySelector("time").after(make("span", "sending", " · sending"));
  }
  return item;
}

function makeItem({ user, nickname, text, time }, isOwn) {
  const item = document.createElement("li");
  item.dataset.time = time;
  item.dataset.by = isOwn ? "me" : `${user} ${nickname}`;
  item.classList.toggle("own", isOwn);
  const avatar = make("span", `avatar ${hueOf(nickname)}`, "");
  avatar.dataset.initials = initialsOf(nickname);
  avatar.ariaHidden = "true";
  const body = make("div", "bubble", "");
  const author = make("span", "author", isOwn ? "You" : nickname);
  const words = make("p", "text", "");
  appendText(words, text);
  const when = make("time", "", timeOf(time));
  when.dateTime = new Date(time).toISOString();
  when.title = new Date(time).toLocaleString();
  const about = make("span", "about", "");
  about.append(when);
  const line = make("div", "line", "");
  line.append(words, about);
  body.append(author, line);
  item.append(avatar, body);
  return item;
}

export function make(name, className, text) {
  const element = document.createElement(name);
  element.className = className;
  element.textContent = text;
  return element;
}

export function makeButton(text, action) {
  const button = make("button", "link", text);
  button.type = "button";
  button.addEventListener("click", action);
  return button;
}
