/** Randomness for fuzzing: the same seed gives the same bytes, fast enough to fill sockets. */
import { createCipheriv, createHash, type Cipheriv } from "node:crypto"
import bencode from "bencode"

const POOL = Buffer.alloc(64 * 1024)

export class Dice {
  readonly #name: string
  readonly #stream: Cipheriv
  #pool: Buffer = Buffer.alloc(0)
  #at = 0
  #forks = 0

  constructor(name: string) {
    this.#name = name
    this.#stream = createCipheriv("aes-128-ctr", createHash("sha256").update(name).digest().subarray(0, 16), Buffer.alloc(16))
  }

  /** Dice of its own for one connection, so that what it sends does not hang on how others are scheduled. */
  fork(): Dice {
    this.#forks += 1
    return new Dice(`${this.#name}/${this.#forks}`)
  }

  /** A whole number from 0 up to, and without, `bound`. */
  below(bound: number): number {
    if (this.#at + 4 > this.#pool.length) {
      this.#pool = this.#stream.update(POOL.subarray(0, 1024))
      this.#at = 0
    }
    this.#at += 4
    return Math.floor((this.#pool.readUInt32LE(this.#at - 4) / 2 ** 32) * bound)
  }

  chance(probability: number): boolean {
    return this.below(1_000_000) < probability * 1_000_000
  }

  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.below(choices.length)]
    if (choice === undefined) throw new RangeError("nothing to choose from")
    return choice
  }

  bytes(count: number): Buffer {
    return this.#stream.update(count <= POOL.length ? POOL.subarray(0, count) : Buffer.alloc(count))
  }
}

/** `original` with a few bytes changed, cut out, put in, or its end replaced by a part of another of `corpus`. */
export function mutated(original: Buffer, corpus: readonly Buffer[], dice: Dice): Buffer {
  let bytes: Buffer = Buffer.from(original)
  for (let changes = 1 + dice.below(3); changes > 0; changes -= 1) {
    const at = dice.below(bytes.length + 1)
    const kind = dice.below(6)
    if (kind <= 1 && at < bytes.length) bytes[at] = dice.below(256)
    else if (kind === 2 && at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8))
    else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + dice.below(8))])
    else if (kind === 4) bytes = Buffer.concat([bytes.subarray(0, at), dice.bytes(1 + dice.below(8)), bytes.subarray(at)])
    else {
      const other = dice.pick(corpus)
      bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(dice.below(other.length + 1))])
    }
  }
  return bytes
}

const FIELD_NAMES = [
  "m",
  "a",
  "r",
  "id",
  "v",
  "p",
  "piece",
  "msg_type",
  "total_size",
  "added",
  "toString",
  "__proto__",
  "length",
  "constructor",
]

/** Bencoded values of any shape under the names that readers look for, some of them out of form. */
export function hostileBencode(dice: Dice): Buffer {
  const roll = dice.below(8)
  if (roll === 0) return Buffer.from("d1:md1:ad8:toStringi1eeee")
  if (roll === 1) return Buffer.from("l".repeat(1 + dice.below(20_000)))
  if (roll === 2) return Buffer.from("d1:a".repeat(1 + dice.below(5_000)))
  if (roll === 3) return Buffer.from(`${dice.pick(["-1", "99999999999999999999", "00", "-", "1e9", "4294967296"])}:x`)
  return Buffer.from(value(dice, 0), "latin1")
}

/** A dictionary of these fields, some left out, some of another type than they must have. */
export function oddFields(fields: Readonly<Record<string, Buffer>>, dice: Dice): Buffer {
  const texts = Object.entries(fields).map(([name, right]) => {
    if (dice.chance(0.15)) return ""
    return string(name) + (dice.chance(0.6) ? right.toString("latin1") : value(dice, 3))
  })
  return Buffer.from(`d${texts.join("")}e`, "latin1")
}

/** Any bencoded value, now and then a number out of form. */
function value(dice: Dice, depth: number): string {
  const kind = dice.below(depth > 5 ? 2 : 5)
  if (kind === 0) return `i${dice.pick(["-1", "0", "1", "2", "255", "256", "4294967296", "9007199254740991", "1e5", "-0"])}e`
  if (kind === 1) return string(dice.bytes(dice.pick([0, 1, 2, 4, 6, 20, 26, 32, 64, 100])).toString("latin1"))
  if (kind === 2) return `l${Array.from({ length: dice.below(4) }, () => value(dice, depth + 1)).join("")}e`
  return `d${Array.from({ length: dice.below(5) }, () => string(dice.pick(FIELD_NAMES)) + value(dice, depth + 1)).join("")}e`
}

export function encoded(plain: unknown): Buffer {
  return Buffer.from(bencode.encode(plain))
}

function string(text: string): string {
  return `${text.length}:${text}`
}
