/** Which paths a publisher's role may sign, as TUF matches them. */
import { DelegatedRole } from "@tufjs/models/dist/role.js"
import type { SignedBody } from "./metadata.ts"

export type Delegation = SignedBody<"targets">["delegations"]["roles"][number]

/** Whether all of these paths are the role's to sign. */
export function maySign({ name, keyids, threshold, terminating, paths }: Delegation, wanted: readonly string[]): boolean {
  const role = new DelegatedRole({ name, keyIDs: keyids, threshold, terminating, paths })
  return wanted.every((path) => role.isDelegatedPath(path))
}
