/**
 * Reads bencoding from peers and files. The `bencode` package trusts its input: a negative length makes it read the same bytes for ever. Here every
 * length is checked, depth and number of items are bounded, and dictionaries are Maps, so that no key is special.
 */
import { GridError } from "./errors.ts"

export type Bencoded = number | Buffer | readonly Bencoded[] | ReadonlyMap<string, Bencoded>

const DEPTH_MAX = 8
const ITEMS_MAX = 2_000

const DICTIONARY = 0x64
const LIST = 0x6c
const INTEGER = 0x69
const END = 0x65
const COLON = 0x3a

/**
 * The first value in `bytes`, and where it ends.
 * @throws {GridError} PEER_MISBEHAVED
 */
export function readBencoded(bytes: Buffer): { readonly value: Bencoded; readonly end: number } {
  let at = 0
  let items = 0

  function digits(terminator: number): number {
    const end = bytes.indexOf(terminator, at)
    const text = end < 0 || end - at > 17 ? "" : bytes.toString("latin1", at, end)
    const number = Number(text)
    if (!/^(0|-?[1-9][0-9]*)$/.test(text) || !Number.isSafeInteger(number)) refuse("a number out of form")
    at = end + 1
    return number
  }

  function string(): Buffer {
    const length = digits(COLON)
    if (length < 0 || at + length > bytes.length) refuse("a string beyond its message")
    at += length
    return bytes.subarray(at - length, at)
  }

  function value(depth: number): Bencoded {
    items += 1
    if (depth > DEPTH_MAX || items > ITEMS_MAX) refuse("too deep or too many items")
    const kind = bytes[at]
    if (kind === INTEGER) {
      at += 1
      return digits(END)
    }
    if (kind !== LIST && kind !== DICTIONARY) return string()
    at += 1
    const list: Bencoded[] = []
    const dictionary = new Map<string, Bencoded>()
    while (bytes[at] !== END) {
      if (kind === LIST) list.push(value(depth + 1))
      else {
        const key = string().toString("latin1")
        dictionary.set(key, value(depth + 1))
      }
    }
    at += 1
    return kind === LIST ? list : dictionary
  }

  return { value: value(0), end: at }
}

function refuse(detail: string): never {
  throw new GridError("PEER_MISBEHAVED", `bencoding: ${detail}`)
}
