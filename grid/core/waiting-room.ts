/**
 * Connections that came in and have not proven who they are. So many are kept, in two rooms: one for those from where a server of the roster may be, one
 * for all others. When a room is full, the one that waits longest goes of the source that has most: who opens very many pushes out its own, and an honest
 * handshake needs no longer than a few round trips.
 */
const ROSTER_ROOM = 256
const OTHERS_ROOM = 64

type Guest<Connection> = { readonly connection: Connection; readonly source: string }

export class WaitingRoom<Connection> {
  readonly #rooms: readonly [Set<Guest<Connection>>, Set<Guest<Connection>>] = [new Set(), new Set()]
  readonly #guests = new Map<Connection, Guest<Connection>>()

  get size(): number {
    return this.#guests.size
  }

  /** Lets it in; returns the one that must go for it, or null. */
  enter(connection: Connection, source: string, isOfRoster: boolean): Connection | null {
    const [room, most] = isOfRoster ? ([this.#rooms[0], ROSTER_ROOM] as const) : ([this.#rooms[1], OTHERS_ROOM] as const)
    const goes = room.size < most ? null : this.#longestOfMost(room)
    if (goes !== null) this.leave(goes)
    const guest = { connection, source }
    room.add(guest)
    this.#guests.set(connection, guest)
    return goes
  }

  /** It has proven itself, or is gone. */
  leave(connection: Connection): void {
    const guest = this.#guests.get(connection)
    if (guest === undefined) return
    this.#guests.delete(connection)
    for (const room of this.#rooms) room.delete(guest)
  }

  #longestOfMost(room: ReadonlySet<Guest<Connection>>): Connection | null {
    const counts = new Map<string, number>()
    for (const { source } of room) counts.set(source, (counts.get(source) ?? 0) + 1)
    const most = Math.max(...counts.values())
    // Sets keep the order in which their items came.
    for (const { connection, source } of room) if (counts.get(source) === most) return connection
    return null
  }
}
