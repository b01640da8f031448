import { exitCodes, refusals } from "#core/errors.ts"

/** The lines of the README's table, head included. */
export function errorTable(): string[] {
  const rows = Object.entries(refusals).map(([code, { meaning, exit }]) => `| ${code} | ${exitCodes[exit]} | ${meaning} |`)
  return ["| code | exit | meaning |", "| --- | --- | --- |", ...rows]
}
