/** Text of people as nodes: never HTML, links made to click on. */

const LINK = /https?:\/\/[^\s<>"'`]+/giu;
const AFTER_LINK = /[.,;:!?)\]}'"]+$/u;
const ONLY_EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|[\u200d\ufe0f\s]){1,16}$/u;

export function appendText(element, text) {
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const address = match[0].replace(AFTER_LINK, "");
    if (URL.canParse ? !URL.canParse(address) : false) {
      continue;
    }
    const link = document.createElement("a");
    link.href = address;
    link.textContent = address;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow ugc";
    element.append(text.slice(end, match.index), link);
    end = match.index + address.length;
  }
  element.append(text.slice(end));
  element.classList.toggle("emoji", ONLY_EMOJI.test(text));
}

export function hueOf(name) {
  let sum = 0;
  for (const character of name) {
    sum = (sum * 31 + character.codePointAt(0)) % 12;
  }
  return `hue-${sum}`;
}

export function initialsOf(nickname) {
  const words = nickname.split(/\s+/u).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("") || "?";
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

export const timeOf = (time) => clock.format(time);
export const dayOf = (time) => calendar.format(time);
