/** From JSON of unknown origin to a checked shape: one way for documents, API bodies and state files. */
import type { Static, TSchema } from "typebox"
import { Compile } from "typebox/compile"
import { GridError, type RefusalCode } from "./errors.ts"

export type Reader<Shape> = {
  /** @throws {GridError} with the reader's code, naming the first field that is out of form */
  (value: unknown): Shape
}

/** Compiles a schema once; `what` names the document in the error. */
export function reader<Schema extends TSchema>(schema: Schema, code: RefusalCode, what: string): Reader<Static<Schema>> {
  const check = Compile(schema)
  return (value) => {
    if (check.Check(value)) return value
    const first = check.Errors(value)[0]
    throw new GridError(code, `${what}: ${first === undefined ? "out of form" : `${first.instancePath || "/"} ${first.message}`}`)
  }
}

/**
 * Parses JSON text of at most `maxBytes`.
 * @throws {GridError} with `code`
 */
export function parseJson(bytes: Uint8Array | string, maxBytes: number, code: RefusalCode, what: string): unknown {
  if (bytes.length > maxBytes) throw new GridError(code, `${what}: ${bytes.length} bytes, at most ${maxBytes} are taken`)
  try {
    return JSON.parse(typeof bytes === "string" ? bytes : Buffer.from(bytes).toString("utf8"))
  } catch (cause) {
    throw new GridError(code, `${what}: not JSON`, { cause })
  }
}
