/**
 * The administrators' keys at hand: those under a home's `keys/`, and files named on the command line. Which key a file holds is known from
 * the public half beside it (`NAME.pub`), so a passphrase is asked for only where its key is about to sign.
 */
import { readdir, rename } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { decodeKey, encodeKey, isLocked, KEY_FILE_BYTES_MAX, lockKey, unlockKey } from "#crypto/key-file.ts"
import { signingKeyFromSeed } from "#crypto/identity.ts"
import { keyIdOf, keyIdOfSeed } from "#trust/metadata.ts"
import { GridError, systemErrorCode } from "#core/errors.ts"
import { readBounded, readSecretFile, syncDirectory, writeFileDurably } from "#store/atomic-file.ts"

/** Asks a person, or a file that they named, for the passphrase of this key file. @throws {GridError} KEY_LOCKED when there is nobody to ask */
export type AskPassphrase = (path: string) => Promise<string>

type HeldKey = { readonly path: string; readonly keyId: string; seed: Buffer | null }

/** Files under a home's `keys/` that are no administrator's keys. */
const MEMBER_KEYS: ReadonlySet<string> = new Set(["member.key"])

export class KeyRing {
  readonly #keys: readonly HeldKey[]
  readonly #ask: AskPassphrase

  private constructor(keys: readonly HeldKey[], ask: AskPassphrase) {
    this.#keys = keys
    this.#ask = ask
  }

  /**
   * @param places.homeKeys a home's `keys` directory, or null
   * @throws {GridError} KEY_INVALID, KEY_MISSING, KEY_LOCKED
   */
  static async open(places: { readonly homeKeys: string | null; readonly files: readonly string[] }, ask: AskPassphrase): Promise<KeyRing> {
    const inHome = places.homeKeys === null ? [] : await keyFilesIn(places.homeKeys)
    const keys: HeldKey[] = []
    for (const path of [...inHome, ...places.files]) keys.push(await readKey(path, ask))
    return new KeyRing(keys, ask)
  }

  /** The same keys, and new ones that are known already. */
  with(added: readonly { readonly path: string; readonly seed: Buffer }[]): KeyRing {
    return new KeyRing([...this.#keys, ...added.map(({ path, seed }) => ({ path, keyId: keyIdOfSeed(seed), seed }))], this.#ask)
  }

  /** Where those of these keys that are at hand are kept. */
  places(keyIds: readonly string[]): readonly { readonly path: string; readonly keyId: string }[] {
    return this.#keys.filter(({ keyId }) => keyIds.includes(keyId)).map(({ path, keyId }) => ({ path, keyId }))
  }

  /** TUF key ids of all keys at hand. */
  get keyIds(): readonly string[] {
    return this.#keys.map(({ keyId }) => keyId)
  }

  /** The seeds of those of these keys that are at hand, each once. Opens their files. @throws {GridError} KEY_LOCKED, KEY_INVALID */
  async seeds(keyIds: readonly string[]): Promise<Buffer[]> {
    const wanted = new Set(keyIds)
    const seeds: Buffer[] = []
    for (const key of this.#keys) {
      if (!wanted.delete(key.keyId)) continue
      key.seed ??= await openKey(key.path, this.#ask)
      if (keyIdOfSeed(key.seed) !== key.keyId)
        throw new GridError("KEY_INVALID", `${key.path} holds another key than ${publicPath(key.path)} says; put the right one beside it`)
      seeds.push(key.seed)
    }
    return seeds
  }
}

/** That a new key's file and its public half have a free place. @throws {GridError} OUTPUT_EXISTS; USAGE when there is no such directory */
export async function requireNoKeyFile(path: string): Promise<void> {
  const names = await readdir(dirname(path)).catch((cause: unknown) => {
    if (systemErrorCode(cause) !== "ENOENT" && systemErrorCode(cause) !== "ENOTDIR") throw cause
    throw new GridError("USAGE", `${dirname(path)} is no directory; make it first, with mode 0700`, { cause })
  })
  for (const one of [path, publicPath(path)])
    if (names.includes(basename(one))) throw new GridError("OUTPUT_EXISTS", `${one}; name another file`)
}

/** A new key's file, where there is none. @throws {GridError} OUTPUT_EXISTS, USAGE */
export async function createKeyFile(path: string, seed: Uint8Array, passphrase: string | null): Promise<{ readonly publicKey: string }> {
  await requireNoKeyFile(path)
  return saveKeyFile(path, seed, passphrase)
}

/**
 * Writes a key and, beside it, its public half.
 * @param passphrase null writes it plain, guarded by its file mode alone
 */
export async function saveKeyFile(path: string, seed: Uint8Array, passphrase: string | null): Promise<{ readonly publicKey: string }> {
  const { publicKeyHex } = signingKeyFromSeed(seed)
  await writeFileDurably(path, passphrase === null ? encodeKey(seed) : await lockKey(seed, passphrase), { mode: 0o600 })
  await writeFileDurably(publicPath(path), `${publicKeyHex}\n`)
  return { publicKey: publicKeyHex }
}

/** Takes a key out of use, beside its old place: a ring does not see it any more, and a person can still go back to it. */
export async function retireKeyFile(path: string): Promise<void> {
  for (const file of [path, publicPath(path)]) await rename(file, `${file}.retired`)
  await syncDirectory(dirname(path))
}

/** Whether a passphrase protects this key file. */
export async function isProtected(path: string): Promise<boolean> {
  return isLocked(await readSecretFile(path, KEY_FILE_BYTES_MAX))
}

/**
 * A public key given as 64 hex digits or as the .pub file that holds them. No other file is read: an unprotected secret key looks the same, and
 * would be published.
 * @throws {GridError} KEY_INVALID
 */
export async function readPublicKey(given: string): Promise<string> {
  if (/^[0-9a-f]{64}$/.test(given)) return given
  try {
    const text = !given.endsWith(".pub") ? "" : (await readBounded(given, 1024)).toString("latin1").trim()
    if (/^[0-9a-f]{64}$/.test(text)) return text
  } catch (cause) {
    if (systemErrorCode(cause) !== "ENOENT") throw cause
  }
  throw new GridError("KEY_INVALID", `${JSON.stringify(given.slice(0, 200))} is neither 64 hex digits nor a .pub file that holds them`)
}

async function keyFilesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory))
      .filter((name) => name.endsWith(".key") && !MEMBER_KEYS.has(name))
      .sort()
      .map((name) => join(directory, name))
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return []
    throw error
  }
}

async function readKey(path: string, ask: AskPassphrase): Promise<HeldKey> {
  try {
    return { path, keyId: keyIdOf(await readPublicKey(publicPath(path))), seed: null }
  } catch (error) {
    if (!(error instanceof GridError) || error.code !== "KEY_INVALID") throw error
  }
  const seed = await openKey(path, ask)
  return { path, keyId: keyIdOfSeed(seed), seed }
}

async function openKey(path: string, ask: AskPassphrase): Promise<Buffer> {
  try {
    const file = await readSecretFile(path, KEY_FILE_BYTES_MAX)
    return isLocked(file) ? await unlockKey(file, await ask(path), path) : decodeKey(file, path)
  } catch (cause) {
    if (systemErrorCode(cause) !== "ENOENT") throw cause
    throw new GridError("KEY_MISSING", `there is no key file ${path}; name one that is`, { cause })
  }
}

export function publicPath(path: string): string {
  return `${path.replace(/\.key$/, "")}.pub`
}
