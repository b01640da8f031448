/** The deploys that this server hears of: kept in its database, a few times a minute, and told to whoever asks, together with what its fellows heard. */
import { reasonOf } from "#core/errors.ts"
import { DEPLOYMENTS_SHOWN_MAX, readDeployments, routes, type Deployment, type DeployProgress } from "#core/wire.ts"
import type { Member } from "#member/member.ts"
import { DeploymentTable, united } from "./deployment-table.ts"
import type { ServerState } from "./state.ts"

/** What a crash may lose. */
const SAVE_EVERY_MS = 5_000
const FELLOW_TIMEOUT_MS = 3_000
const FELLOW_BYTES_MAX = 64 * 1024 * 1024

export class DeploymentLog {
  readonly #member: Member
  readonly #state: ServerState
  readonly #table = new DeploymentTable()
  readonly #timer: NodeJS.Timeout

  constructor(member: Member, state: ServerState) {
    this.#member = member
    this.#state = state
    this.#table.restore(state.deployments())
    this.#timer = setInterval(() => this.#save(), SAVE_EVERY_MS)
    this.#timer.unref()
  }

  /** Returns in how many ms the client is to say more. @throws {GridError} API_REFUSED */
  hear(memberId: string, report: DeployProgress): number {
    return this.#table.hear(memberId, report, this.#member.clock.nowMs())
  }

  /** What was heard here. */
  own(): Deployment[] {
    return this.#table.list(this.#member.clock.nowMs()).slice(0, DEPLOYMENTS_SHOWN_MAX)
  }

  /** What any server of the site heard. One that does not answer is passed over. */
  async all(): Promise<Deployment[]> {
    const { api, directory, home, log } = this.#member
    const fellows = directory.addresses("api", home.memberId, home.site)
    const lists = await Promise.all(
      fellows.map(async (fellow) => {
        try {
          const request = { path: `${routes.deployments}?heard=here`, timeoutMs: FELLOW_TIMEOUT_MS, maxBytes: FELLOW_BYTES_MAX }
          return (await api.json(fellow, request, readDeployments)).deployments
        } catch (error) {
          log.info({ reason: reasonOf(error) }, "a fellow did not say which deploys it heard of")
          return []
        }
      }),
    )
    return united([this.own(), ...lists], DEPLOYMENTS_SHOWN_MAX)
  }

  close(): void {
    clearInterval(this.#timer)
    this.#save()
  }

  #save(): void {
    const { kept, gone } = this.#table.takeChanges(this.#member.clock.nowMs())
    if (kept.length + gone.length === 0) return
    try {
      this.#state.saveDeployments(kept, gone)
    } catch (error) {
      this.#member.log.warn({ reason: reasonOf(error) }, "what clients said of their deploys was not kept")
    }
  }
}
