/** A client's member for the length of one command: the home locked, the network open, the catalog as new as can be had. */
import { systemClock } from "#core/clock.ts"
import { GridError, reasonOf } from "#core/errors.ts"
import { Home } from "#member/home.ts"
import { Member } from "#member/member.ts"
import { outdatedOf, renewalDue } from "#member/renewal.ts"
import type { CommandContext } from "./command.ts"
import type { LimitOptions } from "./limit-options.ts"
import { tellFreshness } from "./tell-freshness.ts"
import { byteRate } from "./values.ts"

const REFRESH_TIMEOUT_MS = 15_000
/** For a machine that is down, and for the DHT, which asks some that are, nobody waits longer once a server has answered. */
const REFRESH_GRACE_MS = 300

/** @throws {GridError} ROLE_WRONG, HOME_IN_USE, CERTIFICATE_EXPIRED, USAGE */
export async function withClientMember<Result>(
  context: CommandContext,
  use: (member: Member) => Promise<Result>,
  { uploadLimit }: LimitOptions = {},
): Promise<Result> {
  const uploadBytesPerSecondLimit = byteRate("--upload-limit", uploadLimit)
  const { output, signal } = context
  const home = await Home.open(context.home())
  if (home.role !== "client")
    throw new GridError("ROLE_WRONG", `${home.directory} is a server's home; join with an invite of role client and use that home`)
  using _ = home.lock()
  const log = { info: () => {}, warn: (_fields: object, message: string) => output.warn(message) }
  const member = await Member.start({ home, clock: systemClock, log }, { uploadBytesPerSecondLimit })
  try {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(REFRESH_TIMEOUT_MS)])
    const { answers, failures } = await member.catalogs.refresh(limited, { graceMs: REFRESH_GRACE_MS })
    await member.federation.refresh(AbortSignal.any([signal, AbortSignal.timeout(REFRESH_TIMEOUT_MS)]))
    if (answers === 0) {
      // A server that did not admit this member says more than one that is down.
      const telling = failures.find((failure) => failure instanceof GridError && failure.code.startsWith("CERTIFICATE_")) ?? failures[0]
      output.warn(`no server or peer gave a catalog (${reasonOf(telling)}); going on with the one that this home kept`)
    }
    tellFreshness(output, member.catalogs.freshness(), systemClock.nowMs())
    if (renewalDue(member.certificate, systemClock.nowMs()) || outdatedOf(member).length > 0)
      await member.renew().catch((error: unknown) => output.warn(`certificate not renewed yet: ${reasonOf(error)}`))
    return await use(member)
  } finally {
    await member.close()
  }
}
