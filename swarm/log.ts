/** Where the swarm tells what happens: pino's shape, so that a program passes its logger on. */
export interface SwarmLog {
  debug(fields: object, event: string): void
  warn(fields: object, event: string): void
}

export const silentLog: SwarmLog = { debug: () => undefined, warn: () => undefined }
