/** Whether a server is to leave, or has left, the grid: kept in its home, so that it stays so when it is started again. */
import { Type } from "typebox"
import { reader } from "#core/schema.ts"
import type { Home } from "#member/home.ts"

const FILE = "draining.json"
const read = reader(Type.Object({ draining: Type.Boolean() }, { additionalProperties: false }), "STATE_DAMAGED", FILE)

/** @throws {GridError} STATE_DAMAGED */
export async function isDraining(home: Home): Promise<boolean> {
  const stored = await home.readState(FILE, 1_024)
  return stored !== null && read(stored).draining
}

export async function saveDraining(home: Home, draining: boolean): Promise<void> {
  await home.saveState(FILE, { draining })
}
