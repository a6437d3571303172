/** The page: who is here, the rooms, and what is said, joined to the official client. */
import { takeIdentity } from "./identity.mjs";
import { Outbox } from "./outbox.mjs";
import { RoomLog } from "./room-log.mjs";
import { hueOf, initialsOf } from "./text.mjs";
import { MessageList, make } from "./view.mjs";

const ANSWER_TIME = 10_000; // milliseconds for the server to answer
const TRY_AGAIN = 1_000;
const TYPING_EVERY = 2_000;
const TYPING_LASTS = 4_000;
const KEPT = 400; // messages kept of a room that is not open
const ROOM_NAME = /^[\p{L}\p{N}_-]{1,32}$/u;

const element = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const identity = await takeIdentity(query.get("nickname") ?? "");
const isPhone = matchMedia("(max-width: 720px)");

const rooms = new Map(); // what this page follows, by name
const offered = new Set(); // public rooms that it does not follow
const people = new Map(); // who is here: nicknames by user
const names = new Map(); // the last known nicknames, also of those who have gone
const typing = new Map(); // who is typing in the open room: timers by nickname
let me = "";
let current = "";
let lastTyping = 0;
let statusTimer = 0;
let noticeTimer = 0;
let wasOnline = false;

const socket = io({
  auth: (give) => give({ client: identity.client, nickname: identity.nickname }),
});
const outbox = new Outbox(localStorage, `chat.outbox.${identity.client}`, {
  send: sendEntry,
  changed: showEntry,
  stored: (message) => rooms.get(message.room)?.log.receive(message),
});
const list = new MessageList(element("scroll"), element("messages"), {
  retry: (id) => outbox.retry(id),
  discard: (id) => {
    outbox.remove(id);
    list.removeEntry(id);
    element("input").focus();
  },
});

// Connection

socket.on("connect", () => {
  showStatus(socket.recovered ? "recovered" : wasOnline ? "back" : "online");
  wasOnline = true;
});

socket.on("disconnect", () => showStatus("reconnecting"));
socket.io.on("reconnect_attempt", () => showStatus("reconnecting"));
socket.on("connect_error", () => showStatus(wasOnline ? "reconnecting" : "connecting"));

socket.on("welcome", async (welcome) => {
  me = welcome.user;
  setNickname(welcome.nickname);
  people.clear();
  for (const person of welcome.people) {
    learn(person);
  }
  showPeople();
  for (const [name, head] of Object.entries(welcome.rooms)) {
    if (isPrivate(name)) {
      follow(name);
    } else if (!rooms.has(name)) {
      offered.add(name);
    }
    rooms.get(name)?.log.hearOf(head);
  }
  for (const name of [welcome.room, ...followed()]) {
    follow(name);
  }
  if (!current) {
    const wanted = query.get("room") ?? "";
    open(ROOM_NAME.test(wanted) ? wanted : welcome.room);
  }
  const opened = [...rooms.values()].map(({ log }) => (socket.recovered && !log.stale ? null : log.catchUp("join")));
  await Promise.allSettled(opened);
  showRooms();
  outbox.pump();
});

async function ask(event, room, ...args) {
  return socket.timeout(ANSWER_TIME).emitWithAck(event, room, ...args);
}

async function sendEntry(entry) {
  if (!socket.connected) {
    return null;
  }
  try {
    return await ask("message", entry.room, entry.text, entry.id);
  } catch {
    setTimeout(() => outbox.pump(), TRY_AGAIN);
    return null;
  }
}

function showStatus(state) {
  const status = element("status");
  const texts = {
    connecting: "Connecting…",
    online: "Online",
    reconnecting: "Reconnecting…",
    recovered: "Recovered",
    back: "Online again",
  };
  status.dataset.state = state;
  status.textContent = texts[state];
  clearTimeout(statusTimer);
  if (state === "recovered" || state === "back") {
    statusTimer = setTimeout(() => showStatus("online"), 5_000);
  }
}

// Rooms

socket.on("message", (message) => {
  if (!rooms.has(message.room) && isPrivate(message.room)) {
    follow(message.room).log.catchUp("join").catch(() => {});
  }
  rooms.get(message.room)?.log.receive(message);
});

socket.on("head", (room, head) => rooms.get(room)?.log.hearOf(head));

socket.on("room", (room) => {
  if (!rooms.has(room)) {
    offered.add(room);
    showRooms();
  }
});

function isPrivate(room) {
  return room.startsWith("@");
}

function partnerOf(room) {
  return room.slice(1).split(".").find((user) => user !== me) ?? me;
}

function titleOf(room) {
  return isPrivate(room) ? (names.get(partnerOf(room)) ?? "Somebody") : room;
}

function stored(key, fallback) {
  try {
    return JSON.parse(localStorage.getItem(`chat.${key}.${identity.client}`)) ?? fallback;
  } catch {
    return fallback;
  }
}

function store(key, value) {
  localStorage.setItem(`chat.${key}.${identity.client}`, JSON.stringify(value));
}

function followed() {
  return stored("rooms", []);
}

/** Follow a room: its messages come, and those not read are counted. */
function follow(name) {
  const known = rooms.get(name);
  if (known) {
    return known;
  }
  const room = { name, messages: [], isComplete: false, isLoading: false, read: 0 };
  room.log = new RoomLog(name, {
    ask,
    apply: (message) => apply(room, message),
    reset: () => {
      const { epoch, seq } = stored("read", {})[name] ?? {};
      room.messages = [];
      room.isComplete = false;
      room.read = epoch === undefined ? null : seq;
      room.readEpoch = epoch;
      if (name === current) {
        refresh();
      }
    },
  });
  rooms.set(name, room);
  offered.delete(name);
  if (!isPrivate(name)) {
    store("rooms", [...new Set([...followed(), name])]);
  }
  showRooms();
  return room;
}

function apply(room, message) {
  room.messages.push(message);
  names.set(message.user, message.nickname);
  if (message.user === me) {
    outbox.remove(message.id);
  }
  if (room.name === current) {
    if (list.append(message, me) || message.user === me) {
      list.scrollToEnd();
    } else {
      element("newest").hidden = false;
    }
    stopTyping(message.nickname);
    showBeginning(room);
  } else if (room.messages.length > KEPT) {
    room.messages = room.messages.slice(-KEPT / 2);
    room.isComplete = false;
  }
  if (room.name === current && !document.hidden) {
    markRead(room);
  }
  showRooms();
}

function markRead(room) {
  room.read = room.log.last ?? 0;
  room.readEpoch = room.log.epoch;
  store("read", { ...stored("read", {}), [room.name]: { epoch: room.readEpoch, seq: room.read } });
}

function unreadOf(room) {
  if (room.name === current || room.log.last === null) {
    return 0;
  }
  const read = room.readEpoch === room.log.epoch ? (room.read ?? 0) : 0;
  return Math.max(room.log.head - read, 0);
}

function open(name) {
  const isNew = !rooms.has(name);
  const room = follow(name);
  current = name;
  if (isNew && socket.connected) {
    room.log.catchUp("join").catch(() => {});
  }
  if (room.log.last !== null) {
    markRead(room);
  }
  clearTyping();
  refresh();
  showRooms();
  closeSide();
}

function refresh() {
  const room = rooms.get(current);
  list.show(
    room.messages,
    outbox.entries.filter((entry) => entry.room === current),
    me,
  );
  element("newest").hidden = true;
  showBeginning(room);
}

function leave(name) {
  socket.emit("leave", name);
  rooms.delete(name);
  offered.add(name);
  store("rooms", followed().filter((other) => other !== name));
  open(rooms.keys().next().value);
}

function showRooms() {
  const focused = document.activeElement?.dataset.room;
  let total = 0;
  const items = [...rooms.values()].map((room) => {
    const unread = unreadOf(room);
    total += unread;
    return makeRoom(room.name, unread, room.name === current);
  });
  items.push(...[...offered].sort().map((name) => makeRoom(name, 0, false, "offered")));
  element("rooms").replaceChildren(...items);
  if (focused) {
    element("rooms").querySelector(`[data-room="${CSS.escape(focused)}"]`)?.focus();
  }
  const badge = element("menu-badge");
  badge.textContent = total > 99 ? "99+" : total;
  badge.hidden = total === 0;
  element("room-title").textContent = current && titleOf(current);
  element("room-title").dataset.kind = isPrivate(current) ? "private" : "public";
  element("room-about").textContent = isPrivate(current) ? "Only the two of you read this" : "Everybody may read this";
  element("leave").hidden = isPrivate(current) || rooms.keys().next().value === current;
  element("input").placeholder = current ? `Message ${titleOf(current)}` : "Message";
  document.title = `${total ? `(${total}) ` : ""}${current ? titleOf(current) : "Chat"} · Chat`;
}

function makeRoom(name, unread, isCurrent, className = "") {
  const item = document.createElement("li");
  const button = make("button", `room ${className}`, "");
  button.dataset.room = name;
  button.dataset.kind = isPrivate(name) ? "private" : "public";
  button.append(make("span", "name", titleOf(name)));
  if (isCurrent) {
    button.setAttribute("aria-current", "true");
  }
  if (unread) {
    const badge = make("span", "badge", unread > 99 ? "99+" : unread);
    badge.append(make("span", "hidden", " unread"));
    button.append(badge);
  }
  button.addEventListener("click", () => open(name));
  item.append(button);
  return item;
}

element("room-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = element("room-name").value.trim().replace(/^#/u, "").replace(/\s+/gu, "-").toLowerCase();
  if (ROOM_NAME.test(name)) {
    element("room-name").value = "";
    open(name);
  } else if (name) {
    showNotice("A room's name has letters, digits and dashes.");
  }
});

element("leave").addEventListener("click", () => leave(current));

// What was said before

element("scroll").addEventListener("scroll", () => {
  if (list.isAtEnd) {
    element("newest").hidden = true;
  }
  loadOlder();
});

async function loadOlder() {
  const room = rooms.get(current);
  if (element("scroll").scrollTop > 200 || !room || room.isLoading || room.isComplete || room.messages.length === 0) {
    return;
  }
  room.isLoading = true;
  showBeginning(room);
  try {
    const answer = await ask("history", room.name, room.messages[0].seq);
    const older = answer.messages ?? [];
    room.isComplete = older.length === 0 || older[0].seq === 1;
    room.messages.unshift(...older);
    for (const { user, nickname } of older) {
      names.set(user, names.get(user) ?? nickname);
    }
    if (room.name === current) {
      list.prepend(older, me);
    }
  } catch {
    // scrolling asks again
  } finally {
    room.isLoading = false;
    showBeginning(room);
  }
}

function showBeginning(room) {
  if (room.name !== current) {
    return;
  }
  room.isComplete ||= room.log.last !== null && (room.messages[0]?.seq ?? room.log.last + 1) === 1;
  const isEmpty = room.log.last === 0;
  const line = element("beginning");
  line.hidden = false;
  line.textContent = room.isComplete
    ? isEmpty
      ? "Nothing has been said here yet. Say hello!"
      : `The beginning of ${titleOf(room.name)}`
    : "Loading…";
}

element("newest").addEventListener("click", () => {
  list.scrollToEnd();
  element("input").focus();
});

document.addEventListener("visibilitychange", () => {
  const room = rooms.get(current);
  if (!document.hidden && room?.log.last != null) {
    markRead(room);
    showRooms();
  }
});

// What one says

function showEntry(entry) {
  if (entry.room === current) {
    list.showEntry(entry);
  }
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = element("input");
  const text = input.value.trim();
  if (text && current) {
    outbox.add(current, text);
    list.scrollToEnd();
    input.value = "";
    fitInput();
    lastTyping = 0;
  }
  input.focus();
});

element("input").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element("form").requestSubmit();
  }
});

element("input").addEventListener("input", () => {
  fitInput();
  if (element("input").value && socket.connected && Date.now() - lastTyping > TYPING_EVERY) {
    lastTyping = Date.now();
    socket.volatile.emit("typing", current);
  }
});

function fitInput() {
  const input = element("input");
  input.style.height = "auto";
  input.style.height = `${Math.min(input.scrollHeight + 2, 160)}px`;
}

// People

socket.on("joined", (person) => {
  learn(person);
  showPeople();
  showNotice(`${person.nickname} is here`);
});

socket.on("left", (person) => {
  people.delete(person.user);
  stopTyping(person.nickname);
  showPeople();
  showNotice(`${person.nickname} has left`);
});

socket.on("renamed", (person) => {
  const before = people.get(person.user);
  learn(person);
  if (person.user === me) {
    setNickname(person.nickname);
  } else {
    showNotice(`${before} is now ${person.nickname}`);
  }
  showPeople();
  showRooms();
});

socket.on("typing", (room, { nickname }) => {
  if (room === current) {
    clearTimeout(typing.get(nickname));
    typing.set(
      nickname,
      setTimeout(() => stopTyping(nickname), TYPING_LASTS),
    );
    showTyping();
  }
});

socket.on("notice", showNotice);

function learn({ user, nickname }) {
  people.set(user, nickname);
  names.set(user, nickname);
}

function showPeople() {
  const focused = document.activeElement?.dataset.user;
  const sorted = [...people].sort(([a, one], [b, other]) => (b === me) - (a === me) || one.localeCompare(other));
  element("users").replaceChildren(...sorted.map(([user, nickname]) => makePerson(user, nickname)));
  element("users-count").textContent = people.size;
  if (focused) {
    element("users").querySelector(`[data-user="${CSS.escape(focused)}"]`)?.focus();
  }
}

function makePerson(user, nickname) {
  const item = document.createElement("li");
  const canTalk = user !== me && !user.startsWith("guest-");
  const person = make(canTalk ? "button" : "span", "person", "");
  const avatar = make("span", `avatar ${hueOf(nickname)}`, "");
  avatar.dataset.initials = initialsOf(nickname);
  avatar.ariaHidden = "true";
  person.dataset.user = user;
  person.append(avatar, make("span", "name", nickname));
  if (user === me) {
    person.append(make("span", "note", "you"));
  }
  if (canTalk) {
    person.title = `Write to ${nickname} alone`;
    person.addEventListener("click", () => open(`@${[me, user].sort().join(".")}`));
  }
  item.append(person);
  return item;
}

function setNickname(nickname) {
  identity.rename(nickname);
  if (document.activeElement !== element("nickname") || !wasEdited) {
    element("nickname").value = nickname;
  }
  const avatar = element("my-avatar");
  avatar.className = `avatar ${hueOf(nickname)}`;
  avatar.dataset.initials = initialsOf(nickname);
}

function changeNickname() {
  const nickname = element("nickname").value.trim();
  element("nickname-error").textContent = "";
  wasEdited = false;
  if (!nickname || nickname === identity.nickname) {
    element("nickname").value = identity.nickname;
    return;
  }
  socket.timeout(ANSWER_TIME).emit("nickname", nickname, (error, answer) => {
    if (error || answer.error) {
      element("nickname-error").textContent = answer?.error ?? "The server does not answer.";
      element("nickname").value = identity.nickname;
    }
  });
}

let wasEdited = false;
element("nickname").addEventListener("input", () => {
  wasEdited = true;
});
element("nickname").addEventListener("change", changeNickname);
element("me").addEventListener("submit", (event) => {
  event.preventDefault();
  element("nickname").blur(); // which is a change, if there is one
});

function showTyping() {
  const who = [...typing.keys()];
  const [first, second] = who;
  const texts = ["", `${first} is typing…`, `${first} and ${second} are typing…`];
  element("typing").textContent = texts[who.length] ?? "Several people are typing…";
}

function stopTyping(nickname) {
  clearTimeout(typing.get(nickname));
  typing.delete(nickname);
  showTyping();
}

function clearTyping() {
  for (const nickname of [...typing.keys()]) {
    stopTyping(nickname);
  }
}

function showNotice(text) {
  element("notice").textContent = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => {
    element("notice").textContent = "";
  }, 4_000);
}

// The side on small screens

function openSide() {
  document.body.classList.add("side-open");
  element("menu").setAttribute("aria-expanded", "true");
  element("rooms").querySelector("button")?.focus();
}

function closeSide() {
  const wasOpen = document.body.classList.contains("side-open");
  document.body.classList.remove("side-open");
  element("menu").setAttribute("aria-expanded", "false");
  if (wasOpen || !isPhone.matches) {
    element("input").focus({ preventScroll: true });
  }
}

element("menu").addEventListener("click", () =>
  document.body.classList.contains("side-open") ? closeSide() : openSide(),
);
element("veil").addEventListener("click", closeSide);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.body.classList.contains("side-open")) {
    closeSide();
    element("menu").focus();
  }
});
