/**
 * What will happen, the earliest first; of two at one time, the one that was planned first. Events are three numbers in typed arrays (a heap with four
 * children to a node), so that hundreds of millions of them make no garbage.
 */

const FIRST_CAPACITY = 1_024

export class EventQueue {
  /** The event that `next` took: its time, its kind and what it is about. */
  atMs = 0
  kind = 0
  a = 0
  b = 0
  #size = 0
  #planned = 0
  // In heap order.
  #times = new Float64Array(FIRST_CAPACITY)
  #orders = new Float64Array(FIRST_CAPACITY)
  #slots = new Int32Array(FIRST_CAPACITY)
  // By slot.
  #kinds = new Uint8Array(FIRST_CAPACITY)
  #as = new Int32Array(FIRST_CAPACITY)
  #bs = new Int32Array(FIRST_CAPACITY)
  #free = new Int32Array(FIRST_CAPACITY).map((_, slot) => slot)

  get size(): number {
    return this.#size
  }

  /** How many events were planned so far. */
  get planned(): number {
    return this.#planned
  }

  /** `a` and `b` are whole numbers of 32 bits. */
  push(atMs: number, kind: number, a: number, b: number): void {
    if (this.#size === this.#times.length) this.#grow()
    const slot = this.#free[this.#size] ?? 0
    this.#kinds[slot] = kind
    this.#as[slot] = a
    this.#bs[slot] = b
    const order = this.#planned
    this.#planned += 1
    const times = this.#times
    const orders = this.#orders
    const slots = this.#slots
    let at = this.#size
    this.#size += 1
    // One that is planned later never goes before its equals: only an earlier time moves it up.
    while (at > 0) {
      const parent = (at - 1) >> 2
      const parentMs = times[parent] ?? 0
      if (parentMs <= atMs) break
      times[at] = parentMs
      orders[at] = orders[parent] ?? 0
      slots[at] = slots[parent] ?? 0
      at = parent
    }
    times[at] = atMs
    orders[at] = order
    slots[at] = slot
  }

  /** When the next event is due; never when there is none. */
  get nextMs(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : (this.#times[0] ?? 0)
  }

  /** Takes the next event; false when there is none. */
  next(): boolean {
    if (this.#size === 0) return false
    const slot = this.#slots[0] ?? 0
    this.atMs = this.#times[0] ?? 0
    this.kind = this.#kinds[slot] ?? 0
    this.a = this.#as[slot] ?? 0
    this.b = this.#bs[slot] ?? 0
    this.#size -= 1
    this.#free[this.#size] = slot
    if (this.#size > 0) this.#sink(this.#times[this.#size] ?? 0, this.#orders[this.#size] ?? 0, this.#slots[this.#size] ?? 0)
    return true
  }

  /** Puts an event where the first was. */
  #sink(atMs: number, order: number, slot: number): void {
    const times = this.#times
    const orders = this.#orders
    const slots = this.#slots
    const size = this.#size
    let at = 0
    for (;;) {
      const firstChild = 4 * at + 1
      if (firstChild >= size) break
      const end = Math.min(firstChild + 4, size)
      let least = firstChild
      let leastMs = times[firstChild] ?? 0
      for (let child = firstChild + 1; child < end; child += 1) {
        const childMs = times[child] ?? 0
        if (childMs > leastMs || (childMs === leastMs && (orders[child] ?? 0) > (orders[least] ?? 0))) continue
        least = child
        leastMs = childMs
      }
      if (leastMs > atMs || (leastMs === atMs && (orders[least] ?? 0) > order)) break
      times[at] = leastMs
      orders[at] = orders[least] ?? 0
      slots[at] = slots[least] ?? 0
      at = least
    }
    times[at] = atMs
    orders[at] = order
    slots[at] = slot
  }

  #grow(): void {
    const before = this.#times.length
    const capacity = 2 * before
    this.#times = grown(this.#times, new Float64Array(capacity))
    this.#orders = grown(this.#orders, new Float64Array(capacity))
    this.#slots = grown(this.#slots, new Int32Array(capacity))
    this.#kinds = grown(this.#kinds, new Uint8Array(capacity))
    this.#as = grown(this.#as, new Int32Array(capacity))
    this.#bs = grown(this.#bs, new Int32Array(capacity))
    this.#free = grown(this.#free, new Int32Array(capacity))
    for (let slot = before; slot < capacity; slot += 1) this.#free[slot] = slot
  }
}

function grown<Values extends Float64Array | Int32Array | Uint8Array>(values: Values, empty: Values): Values {
  empty.set(values)
  return empty
}
