/** libp2p tells every frame to its logger; here nobody listens, and none of it is formatted. */
import type { ComponentLogger, Logger } from "@libp2p/interface"

const silent: Logger = Object.assign(() => undefined, {
  error: () => undefined,
  trace: () => undefined,
  enabled: false,
  newScope: (): Logger => silent,
})

export const silentLogger: ComponentLogger = { forComponent: () => silent }
