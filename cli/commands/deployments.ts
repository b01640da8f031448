/** `imagegrid deployments [IMAGE]`: deploys and updates that go on and that ended, with how they ended. */
import { systemClock } from "#core/clock.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { deployments } from "#nodes/own-server.ts"
import type { CommandContext } from "../command.ts"
import { formatBytes, formatDuration } from "../progress.ts"
import { momentMs } from "../values.ts"

type Options = { readonly since?: string; readonly failed?: boolean }

export default async function run(context: CommandContext, [image]: readonly string[], { since, failed }: Options): Promise<void> {
  const { output } = context
  const nowMs = systemClock.nowMs()
  const sinceMs = since === undefined ? 0 : momentMs("--since", since, nowMs)
  const home = await Home.open(context.home())
  const all = await deployments({ home, clock: systemClock, log: silentLog })
  const rows = all.filter(
    (one) =>
      one.startedAtMs >= sinceMs &&
      (image === undefined || one.image === image || one.image.startsWith(`${image}:`)) &&
      (failed !== true || one.state === "failed" || one.state === "lost"),
  )
  for (const row of rows) output.event("deployment", row)
  output.table(
    ["began", "host", "member", "image", "is", "good after", "from servers", "from clients", "sent"],
    rows.map((one) => [
      `${new Date(one.startedAtMs).toISOString().slice(0, 19)}Z`,
      one.host,
      one.memberId.slice(0, SHORT_ID),
      one.image,
      one.code ?? one.state,
      one.goodAfterMs === null ? "" : formatDuration(one.goodAfterMs),
      formatBytes(one.fromServersBytes),
      formatBytes(one.fromClientsBytes),
      formatBytes(one.sentBytes),
    ]),
  )
  if (rows.length === 0) output.note("no deploy of that kind was heard of; clients tell any server of the site that they reach")
}

/** As 'imagegrid audit' shows. */
const SHORT_ID = 12
