/** One plane in a process of its own, for tests that stop or kill it: `fork`ed with the server's number, it says where it listens and takes rosters. */
import { Plane, type PlaneServer } from "#grid/plane.ts"
import { anywhere, identityOf, planeParts, RosterBook } from "./planes.ts"
import { stateOf } from "./signed.ts"

const number = Number(process.argv[2])
const book = new RosterBook()
const plane = await Plane.open(planeParts(identityOf(number), book), { listen: anywhere })
plane.publish("state", stateOf(number))
process.on("message", (servers: PlaneServer[]) => book.set(servers))
process.on("disconnect", () => process.exit())
process.send?.(plane.address)
