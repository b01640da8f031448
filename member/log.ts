/** What members log to: an event's fields, then its words. pino's loggers are of this form. Never keys, tokens or grants. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export const silentLog: Log = { info: () => {}, warn: () => {} }
