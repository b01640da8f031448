/** Whether files lie in memory. */
import { statfs } from "node:fs/promises"

/** f_type of a tmpfs, statfs(2). */
const TMPFS_MAGIC = 0x01021994

/** Whether what stands at `path` is on a tmpfs. Throws system errors. */
export async function isInMemory(path: string): Promise<boolean> {
  return (await statfs(path)).type === TMPFS_MAGIC
}
