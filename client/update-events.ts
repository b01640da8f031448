/** What an update, a rollback or a deploy to slots tells of. */
import type { Sharing } from "#image/shared-tree.ts"
import type { LocalChange } from "#image/update-plan.ts"
import type { Clock } from "#core/clock.ts"
import type { Home } from "#member/home.ts"
import type { DeployEvent } from "./deploy.ts"

export type UpdateEvent =
  | DeployEvent
  /** `sealedBytes` are to be downloaded, by deltas from the version that is there or as a whole. */
  | {
      readonly event: "update-planned"
      readonly image: string
      readonly from: string
      readonly by: "deltas" | "whole" | "what was kept"
      readonly sealedBytes: number
    }
  | { readonly event: "local-change"; readonly path: string; readonly what: LocalChange["what"] }
  | { readonly event: "change"; readonly path: string; readonly what: "added" | "removed" | "changed"; readonly bytes: number }
  | { readonly event: "changes"; readonly steps: number; readonly madeBytes: number; readonly localChanges: number }
  /** Of a tree beside the one in use: files that are not there twice. */
  | { readonly event: "shared"; readonly files: number; readonly how: Sharing }
  | { readonly event: "continued"; readonly image: string }
  /** All that is new is made and durable: from here on whatever ends it, it is gone on with. */
  | { readonly event: "changing"; readonly steps: number }

/** What needs no network. */
export type LocalParts = {
  readonly home: Home
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly emit: (event: UpdateEvent) => void
}
