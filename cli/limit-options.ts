/** What a client may be told to spend on others. */
import type { CommandOption } from "./command.ts"

export type LimitOptions = { readonly uploadLimit?: string }

export const limitOptions: readonly CommandOption[] = [
  { flags: "--upload-limit <BYTES>", description: "send others at most so much a second, such as 5MB; else as fast as it goes" },
]
