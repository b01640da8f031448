/** `npm run check:tuf`: a site with some history, made by this program, is verified by a TUF implementation that we did not write. */
import { secondOpinion } from "./tuf-check/second-opinion.ts"

const opinion = await secondOpinion()
if (opinion.kind === "skipped") console.log(`SKIPPED: nothing was verified. ${opinion.why}`)
else {
  const { by, whole, states, verified, refused, missing } = opinion
  console.log(
    `ok: ${by} verified ${verified} files in ${states} states of a site, and refused each of ${refused} that had one bit changed.`,
  )
  if (!whole)
    console.log(
      `SKIPPED: python-tuf's own client did not look at them (${missing.join("; ")}); pip install tuf, or apt install python3-tuf.`,
    )
}
