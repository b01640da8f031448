/** What was sent, by kind: how often, and in bytes. */
export class Counts {
  readonly #byKind = new Map<string, number>()
  bytes = 0

  add(kind: string, bytes: number): void {
    this.#byKind.set(kind, (this.#byKind.get(kind) ?? 0) + 1)
    this.bytes += bytes
  }

  get total(): number {
    return [...this.#byKind.values()].reduce((sum, count) => sum + count, 0)
  }

  toString(): string {
    const kinds = [...this.#byKind].sort(([a], [b]) => (a < b ? -1 : 1)).map(([kind, count]) => `${count} ${kind}`)
    return `${this.total} in ${(this.bytes / 1e6).toFixed(1)} MB: ${kinds.join(", ")}`
  }
}
