/**
 * Names as Linux has them: bytes, of no particular encoding. A `ByteString` holds one byte in each character, so `<`
 * compares as `strcmp` does and every name has exactly one form.
 */

declare const bytesInside: unique symbol
/** A string whose characters are all below U+0100: one byte each. */
export type ByteString = string & { readonly [bytesInside]: "ByteString" }

export function byteString(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1") as ByteString
}

export function bytesOf(text: ByteString): Buffer {
  return Buffer.from(text, "latin1")
}

const PLAIN = /^[ !#$&-[\]-~]*$/
const NOT_PLAIN = /[^ !#$&-[\]-~]/g

/** ASCII that JSON takes as it is: letters, digits and most punctuation stand for themselves, the rest is `%XX`. */
export function escapeBytes(text: ByteString): string {
  if (PLAIN.test(text)) return text
  return text.replace(NOT_PLAIN, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`)
}

/** The inverse of `escapeBytes`; null for what it can't have written. */
export function unescapeBytes(text: string): ByteString | null {
  const bytes = text.includes("%")
    ? text.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    : text
  return escapeBytes(bytes as ByteString) === text ? (bytes as ByteString) : null
}

const utf8 = new TextDecoder("utf-8", { fatal: true })
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\\]/g

/** For people: UTF-8 where it is that, with control characters, direction marks and stray bytes as `\xNN`. */
export function printable(text: ByteString): string {
  let shown: string
  try {
    shown = utf8.decode(bytesOf(text))
  } catch {
    // oxlint-disable-next-line no-control-regex -- all that is not printable ASCII
    return text.replace(/[^\x20-\x5b\x5d-\x7e]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`)
  }
  return shown.replace(CONTROL, (mark) => Array.from(Buffer.from(mark), (byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join(""))
}
