/** `imagegrid diff NAME[:VERSION] NAME[:VERSION]`: what one image has that another has not, entry by entry. */
import { diffIndexes, fileBytes, indexesOf } from "#client/image-diff.ts"
import { GridError } from "#core/errors.ts"
import { imageQuery } from "#core/identifiers.ts"
import { printable } from "#image/byte-string.ts"
import type { Entry } from "#image/entry.ts"
import type { Change } from "#image/tree-diff.ts"
import { Home } from "#member/home.ts"
import { findImage, formatImage } from "#member/image-sources.ts"
import { imagesToShow } from "../catalog-view.ts"
import { withClientMember } from "../client-member.ts"
import type { CommandContext } from "../command.ts"
import type { Output } from "../output.ts"
import { formatBytes } from "../progress.ts"

/** Changes told between two looks at whether to go on. */
const CHANGES_AT_ONCE = 1_000

export default async function run(context: CommandContext, words: readonly string[]): Promise<void> {
  const { output, signal } = context
  const home = await Home.open(context.home())
  const sources = await imagesToShow(home, context)
  const images = words.map((word) => findImage(sources, imageQuery(word), { retired: "show" }))
  const names = images.map(({ manifest }) => formatImage(manifest, home.site))
  const parts = {
    home,
    signal,
    onWaiting: (detail: string) => output.warn(detail),
    asClient: <Result>(use: Parameters<typeof withClientMember<Result>>[1]) => withClientMember(context, use),
  }
  const [before, after] = await indexesOf(parts, images)
  if (before === undefined || after === undefined) throw new GridError("USAGE", "name two images")

  const changes = diffIndexes(before, after)
  let told = 0
  let next = changes.next()
  for (; next.done !== true; next = changes.next()) {
    tell(output, next.value)
    told += 1
    if (told % CHANGES_AT_ONCE > 0) continue
    await new Promise(setImmediate)
    if (signal.aborted) throw new GridError("INTERRUPTED", `${told} changes were listed, and there are more`)
  }
  const totals = next.value
  output.event("compared", { before: names[0], after: names[1], ...totals })
  const { added, removed, changed, unchanged } = totals
  const kinds = Object.entries(totals.what).map(([what, count]) => `${what} ${count}`)
  output.say(
    `${names.join(" to ")}: ${added.entries} added (${formatBytes(added.bytes)}), ${removed.entries} removed (${formatBytes(removed.bytes)}), ` +
      `${changed.entries} changed${kinds.length === 0 ? "" : ` (${kinds.join(", ")}; new content ${formatBytes(changed.bytes)})`}, ${unchanged} alike.`,
  )
}

function tell(output: Output, { path, before, after, what }: Change): void {
  const name = printable(path)
  const sides = { ...(before && { before: detailsOf(before) }), ...(after && { after: detailsOf(after) }) }
  if (before === null) {
    output.event("added", { path: name, ...sides })
    output.say(`+ ${name}  ${entryWords(after)}`)
  } else if (after === null) {
    output.event("removed", { path: name, ...sides })
    output.say(`- ${name}  ${entryWords(before)}`)
  } else {
    output.event("changed", { path: name, what, ...sides })
    const [was, is] = [entryWords(before), entryWords(after)]
    output.say(`* ${name}  ${what.join(" ")}: ${was === is ? is : `${was} to ${is}`}`)
  }
}

function detailsOf(entry: Entry): { readonly kind: string; readonly bytes: number } {
  return { kind: entry.kind, bytes: fileBytes(entry) }
}

function entryWords(entry: Entry | null): string {
  if (entry === null) return "nothing"
  return entry.kind === "file" ? `file, ${formatBytes(entry.size)}` : entry.kind
}
