/** Whether files lie in memory. */
import type { StatsFs } from "node:fs"

/** f_type of a tmpfs, statfs(2). */
const TMPFS_MAGIC = 0x01021994

/** Of what statfs tells of the file system. */
export function isInMemory({ type }: StatsFs): boolean {
  return type === TMPFS_MAGIC
}
