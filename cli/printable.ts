/**
 * Text from outside on its way to a terminal. What comes out holds no character that moves a cursor, changes colours or titles, or turns the
 * direction of writing: names in an image and words of a server must not be able to forge what is on the screen.
 */

/** C0 and C1 controls, line separators, and the marks that reorder what is displayed (Unicode Bidi_Control). */
// oxlint-disable-next-line no-control-regex -- control characters are what this is about
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g
/** A half of a surrogate pair on its own: UTF-8 has no bytes for it. */
const LONE_SURROGATE = /\p{Surrogate}/gu

/** One line: whatever is unprintable is written as an escape, line ends too. */
export function printableLine(text: string): string {
  return text.replace(UNPRINTABLE, escapeOf).replace(LONE_SURROGATE, "\ufffd")
}

/** Several lines: those after the first are indented, so that none can be taken for a message of ours. */
export function printableLines(text: string): string {
  return text
    .replace(/\n+$/, "")
    .split("\n")
    .map((line, index) => (index === 0 ? "" : "  ") + printableLine(line))
    .join("\n")
}

/** JSON on one line, safe to look at in a terminal, and the same value to a program. */
export function printableJson(value: unknown): string {
  return JSON.stringify(value).replace(UNPRINTABLE, (character) => `\\u${hex(character, 4)}`)
}

function escapeOf(character: string): string {
  if (character === "\n") return "\\n"
  if (character === "\t") return "\\t"
  if (character === "\r") return "\\r"
  return character.charCodeAt(0) < 0x100 ? `\\x${hex(character, 2)}` : `\\u${hex(character, 4)}`
}

function hex(character: string, digits: number): string {
  return character.charCodeAt(0).toString(16).padStart(digits, "0")
}
