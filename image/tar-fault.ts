import { printable, type ByteString } from "./byte-string.ts"

/** Why an archive was refused; whoever drives the reader says in which words of its own. */
export class TarFault extends Error {
  override readonly name = "TarFault"
}

/** A name as it stands in a fault: printable, and not too long. */
export function quoted(path: ByteString): string {
  return JSON.stringify(printable(path).slice(0, 300))
}
