/** What servers tell one another, in one process: the twin of the control plane for tests. */
import type { Infohash, MemberId } from "../../core/identifiers.ts"
import type { FellowDocuments, FellowWatcher } from "../../nodes/keeper.ts"

type Said = { held: ReadonlySet<Infohash>; state: Parameters<FellowDocuments["publishState"]>[0] | null; sinceMs: number | null }

export class DocumentBoard {
  readonly #said = new Map<MemberId, Said>()
  readonly #watchers = new Map<MemberId, FellowWatcher>()

  /** One server's end of it; disposing of it is that server's silence from then on. */
  join(self: MemberId): FellowDocuments & AsyncDisposable {
    const own: Said = { held: new Set(), state: null, sinceMs: null }
    this.#said.set(self, own)
    this.#tell(self, (watcher) => watcher.presence(self, null))
    return {
      publishHoldings: (held) => {
        own.held = new Set(held)
        this.#tell(self, (watcher) => watcher.holdings(self, own.held))
      },
      publishState: (state) => {
        own.state = state
        this.#tell(self, (watcher) => watcher.state(self, state))
      },
      watch: (watcher) => {
        this.#watchers.set(self, watcher)
        for (const [server, said] of this.#said) {
          if (server === self) continue
          watcher.presence(server, said.sinceMs)
          watcher.holdings(server, said.held)
          if (said.state !== null) watcher.state(server, said.state)
        }
        return () => void this.#watchers.delete(self)
      },
      [Symbol.asyncDispose]: async () => {
        own.sinceMs = Date.now()
        this.#tell(self, (watcher) => watcher.presence(self, own.sinceMs))
      },
    }
  }

  state(server: MemberId): Said["state"] {
    return this.#said.get(server)?.state ?? null
  }

  #tell(from: MemberId, how: (watcher: FellowWatcher) => void): void {
    for (const [server, watcher] of this.#watchers) if (server !== from) queueMicrotask(() => how(watcher))
  }
}
