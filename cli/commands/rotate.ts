/** `imagegrid rotate WHAT`: replaces a key of the site, or this member's own. */
import { randomBytes } from "node:crypto"
import { systemClock } from "#core/clock.ts"
import { GridError } from "#core/errors.ts"
import { groupName } from "#core/identifiers.ts"
import { Home } from "#member/home.ts"
import { silentLog } from "#member/log.ts"
import { Member } from "#member/member.ts"
import { rekeyMember } from "#member/rekey.ts"
import { replaceGroupKey } from "#nodes/groups.ts"
import type { MadeChange } from "#nodes/make-change.ts"
import { rekeyServer } from "#nodes/rekey-server.ts"
import { rotateSigningKeys, type SigningRole } from "#nodes/rotate-signing-key.ts"
import {
  dropOldAuthorities,
  dropOldNetworkKeys,
  lockedOutByDrop,
  rotateAuthority,
  rotateNetworkKey,
  rotateOnlineKeys,
  rotatePointer,
  type RotateParts,
} from "#nodes/rotate.ts"
import { newPassphraseSource, openKeyRing, type KeyOptions } from "../keys.ts"
import type { Output } from "../output.ts"
import { tellChange, type OutOptions } from "../tell-change.ts"
import type { CommandContext } from "../command.ts"

type Options = KeyOptions & OutOptions & { readonly dropOld?: boolean; readonly yes?: boolean }

type Rotation = { readonly what: string; readonly done: string; make(parts: RotateParts): Promise<MadeChange> }

const KINDS = "snapshot, timestamp, pointer, authority, network, group NAME, root, targets, publisher NAME or member"

export default async function run({ output, home }: CommandContext, args: readonly string[], options: Options): Promise<void> {
  const [what = "", name] = args
  const names = what === "group" || what === "publisher" || isOnline(what)
  if (name !== undefined && !names) throw new GridError("USAGE", `'rotate ${what}' takes no name, and ${JSON.stringify(name)} came`)
  if (options.dropOld === true && what !== "authority" && what !== "network")
    throw new GridError(
      "USAGE",
      "--drop-old is for authority and network: of all other keys the old one counts no more as soon as the new one does",
    )
  if (options.yes === true && !(what === "authority" && options.dropOld === true))
    throw new GridError("USAGE", "--yes is for 'rotate authority --drop-old'")
  const directory = home()
  if (what === "member") return rotateMember(output, directory)

  const opened = await Home.open(directory)
  const parts: RotateParts = {
    home: opened,
    clock: systemClock,
    log: silentLog,
    random: randomBytes,
    keys: await openKeyRing(opened, options),
  }
  const role = signingRole(what, name)
  if (role !== null) return rotateSigning(output, parts, role, options)
  const rotation = rotationOf(what, name, options)
  const made = await rotation.make(parts)
  if (made.applied) output.event("rotated", { what: rotation.what })
  await tellChange(output, made, { done: rotation.done, what: `rotate-${rotation.what}` }, options)
}

const isOnline = (what: string | undefined): what is "snapshot" | "timestamp" => what === "snapshot" || what === "timestamp"

function rotationOf(what: string, name: string | undefined, { dropOld = false, yes = false }: Options): Rotation {
  if (isOnline(what)) {
    if (name !== undefined && !isOnline(name))
      throw new GridError("USAGE", `'rotate ${what}' goes with snapshot or timestamp, not ${JSON.stringify(name)}`)
    const roles = [...new Set(isOnline(name) ? [what, name] : [what])]
    return {
      what: roles.join("-"),
      done: `New ${roles.join(" and ")} key in force. Other servers fetch it by themselves; what the old one signed counts no more.`,
      make: (parts) => rotateOnlineKeys(parts, roles),
    }
  }
  switch (what) {
    case "pointer":
      return { what, done: "New pointer key in force. Members learn it from the catalog.", make: rotatePointer }
    case "authority":
      return dropOld
        ? {
            what: "authority-drop-old",
            done: "The newest authority alone is admitted from now on.",
            make: async (parts) => {
              const reasons = yes ? [] : await lockedOutByDrop(parts)
              if (reasons.length === 0) return dropOldAuthorities(parts)
              throw new GridError("USAGE", `this would lock members out. ${reasons.join(" ")} Wait, or drop it all the same with --yes`)
            },
          }
        : {
            what,
            done:
              "New authority in force. All members renew with it by themselves; certificates of the old one are admitted until\n" +
              "'imagegrid rotate authority --drop-old', which needs no invites to be made anew from a week from now on.",
            make: rotateAuthority,
          }
    case "network":
      return dropOld
        ? {
            what: "network-drop-old",
            done: "DHT packets under the newest network key alone are taken from now on. Who lacks it gets it from any server.",
            make: dropOldNetworkKeys,
          }
        : {
            what,
            done: "New network key in force. Packets under the old one are taken until 'imagegrid rotate network --drop-old'.",
            make: rotateNetworkKey,
          }
    case "group": {
      if (name === undefined) throw new GridError("USAGE", "name the group: imagegrid rotate group NAME")
      return {
        what: `group-${name}`,
        done: `New key of group ${name} in force: images are granted to it from now on. Its members keep the older keys for what was granted before.`,
        make: (parts) => replaceGroupKey(parts, groupName(name)),
      }
    }
    default:
      throw new GridError("USAGE", `what is to be replaced is one of ${KINDS}, not ${JSON.stringify(what.slice(0, 40))}`)
  }
}

function signingRole(what: string, name: string | undefined): SigningRole | null {
  if (what === "root" || what === "targets") return { kind: what }
  if (what !== "publisher") return null
  if (name === undefined) throw new GridError("USAGE", "name the publisher: imagegrid rotate publisher NAME")
  return { kind: "publisher", name }
}

async function rotateSigning(output: Output, parts: RotateParts, role: SigningRole, options: Options): Promise<void> {
  const made = await rotateSigningKeys({ ...parts, newPassphrase: newPassphraseSource(options) }, role)
  const what = role.kind === "publisher" ? `publisher-${role.name}` : role.kind
  if (made.applied) output.event("rotated", { what, keyFiles: made.keyFiles })
  const files = made.keyFiles.map((file) => `${file.new} takes the place of ${file.old}`).join("\n")
  const done = `New key of ${what.replace("-", " ")} in force.\n${files}, which is kept as .retired. Back the new one up.`
  if (await tellChange(output, made, { done, what: `rotate-${what}` }, options)) return
  output.say(`${files} once the change is in force; keep both until then, and back the new one up.`)
}

async function rotateMember(output: Output, directory: string): Promise<void> {
  using _ = (await Home.open(directory)).lock()
  const home = await Home.open(directory)
  const renewed =
    home.role === "server"
      ? await rekeyServer({ home, clock: systemClock, log: silentLog, random: randomBytes })
      : await rekeyAtServer(home)
  output.event("rotated", { what: "member", from: home.memberId, to: renewed.memberId })
  output.say(`This member was ${home.memberId} and is ${renewed.memberId} now, with new keys, the same role and the same groups.`)
  output.say(`The old certificate works until it ends, 7 days at most. If the old keys were stolen, have ${home.memberId} revoked.`)
}

async function rekeyAtServer(home: Home): Promise<Home> {
  const member = await Member.start({ home, clock: systemClock, log: silentLog }, { network: "api-only" })
  try {
    await member.catalogs.refresh()
    return await rekeyMember(member)
  } finally {
    await member.close()
  }
}
