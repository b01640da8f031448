/** Every command of the program, as it is declared to people and to the parser. */
import { keyOptions } from "./keys.ts"
import { outOption } from "./tell-change.ts"
import type { CommandArgument, CommandOption, CommandSpec } from "./command.ts"

const image: CommandArgument = { name: "NAME[:VERSION]", description: "the image; without a version the newest", required: true }
const everyVersion: CommandArgument = { ...image, description: "the image; without a version all that there are" }
const group: CommandArgument = { name: "NAME", description: "the group: a-z, 0-9 and -", required: true }
const groupMembers: CommandArgument = { name: "MEMBER...", description: "members' ids, as 'imagegrid join' printed them", required: true }
const signing: readonly CommandOption[] = [...keyOptions, outOption]
const target: CommandOption = { flags: "--target <DIR>", description: "the directory that holds the deployed tree" }
const listening: readonly CommandOption[] = [
  { flags: "--swarm <HOST:PORT>", description: "listen here for the swarm (TCP)" },
  { flags: "--dht <HOST:PORT>", description: "listen here for the DHT (UDP)" },
]
const api: CommandOption = { flags: "--api <HOST:PORT>", description: "listen here for the API (TCP); servers only" }

const SITE = "Make and run a site"
const MEMBERS = "Let machines in"
const KEYS = "Replace keys"
const IMAGES = "Publish and look"
const DEPLOY = "Deploy and pass on"
const TRY = "Try it"

export const commands: readonly CommandSpec[] = [
  {
    name: "site create",
    group: SITE,
    summary: "makes a new site and the home of its first server",
    arguments: [{ name: "NAME", description: "the site's name: a-z, 0-9 and -", required: true }],
    options: [
      { flags: "--groups <A,B...>", description: "groups of clients besides 'default', each with images of its own" },
      api,
      ...listening,
    ],
    examples: [
      "imagegrid site create lab --home /var/lib/imagegrid",
      "imagegrid site create lab --home DIR --api 192.0.2.7:7400 --swarm 192.0.2.7:7401 --dht 192.0.2.7:7402",
    ],
    home: "needed",
    load: () => import("./commands/site-create.ts"),
  },
  {
    name: "server run",
    group: SITE,
    summary: "runs the image server of a home until it is told to stop",
    arguments: [],
    options: [{ flags: "--upload-limit <BYTES>", description: "send at most so much a second, such as 50MB; else as fast as it goes" }],
    examples: ["imagegrid server run --home /var/lib/imagegrid", "imagegrid server run --home DIR --upload-limit 50MB"],
    exitNotes: "SIGINT and SIGTERM stop it in good order, with exit code 130.",
    home: "needed",
    load: () => import("./commands/server-run.ts"),
  },
  {
    name: "audit",
    group: SITE,
    summary: "lists who published, let in, revoked and deployed what, as this server wrote it down",
    arguments: [],
    options: [
      { flags: "--verify", description: "check that the log is whole, and is what the other servers saw of it" },
      { flags: "--since <TIME>", description: "from then on: 2026-11-23, 2026-11-23T10:00Z, or how long ago, such as 24h" },
      { flags: "--event <EVENT>", description: "these alone, such as published, joined or deployed" },
    ],
    examples: ["imagegrid audit --home /var/lib/imagegrid --since 24h", "imagegrid audit --verify --home /var/lib/imagegrid"],
    exitNotes: "With --verify 65 (AUDIT_BROKEN) when the log was changed or cut.",
    home: "needed",
    load: () => import("./commands/audit.ts"),
  },
  {
    name: "invite",
    group: MEMBERS,
    summary: "prints one string that lets a machine join",
    arguments: [],
    options: [
      {
        flags: "--role <ROLE>",
        description: "what the machine becomes: client, server, or mirror (which holds no key that opens or signs)",
        default: "client",
      },
      { flags: "--group <NAME>", description: "the group whose images a client may open" },
      { flags: "--uses <N>", description: "how many machines may use it", default: "1" },
      { flags: "--expires <TIME>", description: "how long it is good for: 90s, 30m, 24h, 7d", default: "24h" },
    ],
    examples: ["imagegrid invite --home /var/lib/imagegrid", "imagegrid invite --home /var/lib/imagegrid --uses 40 --expires 2h"],
    home: "needed",
    load: () => import("./commands/invite.ts"),
  },
  {
    name: "join",
    group: MEMBERS,
    summary: "makes this machine a member, with keys that never leave it",
    arguments: [
      { name: "INVITE", description: "the string that 'imagegrid invite' printed, or - to read it from standard input", required: true },
    ],
    options: [api, ...listening],
    examples: ["imagegrid join imagegrid1:... --home /var/lib/imagegrid", "imagegrid join - --home /var/lib/imagegrid < invite.txt"],
    home: "needed",
    load: () => import("./commands/join.ts"),
  },
  {
    name: "group create",
    group: MEMBERS,
    summary: "makes a group of members who share what they may open",
    arguments: [group],
    options: signing,
    examples: ["imagegrid group create lab --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/group-create.ts"),
  },
  {
    name: "group add",
    group: MEMBERS,
    summary: "puts members into a group, whatever their invites said",
    arguments: [group, groupMembers],
    options: signing,
    examples: ["imagegrid group add lab 5f0c9d3a7be14d2c8a6b1e0f9d8c7b6a --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/group-add.ts"),
  },
  {
    name: "group remove",
    group: MEMBERS,
    summary: "takes members out of a group and gives it a key that they don't get",
    arguments: [group, groupMembers],
    options: signing,
    examples: ["imagegrid group remove lab 5f0c9d3a7be14d2c8a6b1e0f9d8c7b6a --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/group-remove.ts"),
  },
  {
    name: "group list",
    group: MEMBERS,
    summary: "lists the groups, and who was added to them and removed",
    arguments: [],
    options: [],
    examples: ["imagegrid group list --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/group-list.ts"),
  },
  {
    name: "revoke",
    group: MEMBERS,
    summary: "shuts members out of the site for good, and takes invites back",
    arguments: [{ name: "MEMBER|INVITE...", description: "ids that 'imagegrid join' and 'imagegrid invite' printed", required: true }],
    options: [{ flags: "--yes", description: "also when the member of this very home is among them" }, ...signing],
    examples: ["imagegrid revoke 5f0c9d3a7be14d2c8a6b1e0f9d8c7b6a --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/revoke.ts"),
  },
  {
    name: "rotate",
    group: KEYS,
    summary: "replaces a key by a new one; members who are away take it when they come back",
    arguments: [
      {
        name: "WHAT",
        description: "snapshot, timestamp, pointer, authority, network, group, root, targets, publisher or member",
        required: true,
      },
      { name: "NAME", description: "of the group or publisher; or the second of 'snapshot timestamp'", required: false },
    ],
    options: [
      { flags: "--drop-old", description: "of authority and network: accept the newest key alone from now on, and make none" },
      { flags: "--yes", description: "drop the old authority even if that locks members out" },
      ...keyOptions,
      outOption,
    ],
    examples: [
      "imagegrid rotate snapshot timestamp --home /var/lib/imagegrid",
      "imagegrid rotate authority --home /var/lib/imagegrid",
      "imagegrid rotate authority --drop-old --home /var/lib/imagegrid",
      "imagegrid rotate publisher hpc --home /var/lib/imagegrid --passphrase-file FILE",
      "imagegrid rotate member --home /var/lib/imagegrid",
    ],
    exitNotes:
      "'rotate member' needs the home to itself: stop what runs in it first. All others work while the server runs, and while it does not.",
    home: "needed",
    load: () => import("./commands/rotate.ts"),
  },
  {
    name: "publish",
    group: IMAGES,
    summary: "seals a directory tree and signs it as a new version of an image",
    arguments: [
      { name: "DIRECTORY", description: "the tree to publish", required: true },
      { name: "NAME:VERSION", description: "what to call it; a version never changes", required: true },
    ],
    options: [
      { flags: "--group <A,B...>", description: "the groups that may open it", default: "default" },
      { flags: "--pieces-of <BYTES>", description: "length of a torrent piece, a power of two such as 256KiB" },
      { flags: "--wait-copies <N>", description: "return when N servers hold it" },
      ...keyOptions,
      outOption,
    ],
    examples: ["imagegrid publish /srv/golden debian:2026.11 --home /var/lib/imagegrid --wait-copies 2"],
    home: "needed",
    load: () => import("./commands/publish.ts"),
  },
  {
    name: "images",
    group: IMAGES,
    summary: "lists what the site has published",
    arguments: [],
    options: [],
    examples: ["imagegrid images --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/images.ts"),
  },
  {
    name: "show",
    group: IMAGES,
    summary: "shows one image: its layers, digests, and who may open it",
    arguments: [image],
    options: [],
    examples: ["imagegrid show debian --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/show.ts"),
  },
  {
    name: "grant",
    group: IMAGES,
    summary: "lets a group open an image that is published already",
    arguments: [everyVersion],
    options: [{ flags: "--group <NAME>", description: "the group that is to open it" }, ...signing],
    examples: ["imagegrid grant debian --group lab --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/grant.ts"),
  },
  {
    name: "ungrant",
    group: IMAGES,
    summary: "takes a group's permission to open an image away",
    arguments: [everyVersion],
    options: [{ flags: "--group <NAME>", description: "the group that is not to open it any more" }, ...signing],
    examples: ["imagegrid ungrant debian:2026.11 --group lab --home /var/lib/imagegrid"],
    home: "needed",
    load: () => import("./commands/ungrant.ts"),
  },
  {
    name: "deploy",
    group: DEPLOY,
    summary: "downloads an image, unpacks and verifies it, and seeds it while that is useful",
    arguments: [image],
    options: [
      { ...target, description: "the directory to deploy to: missing, empty, or left by a deploy that was cut off" },
      { flags: "--stage <DIR>", description: "keep the sealed bytes here; else in /dev/shm, /tmp or beside the target" },
      { flags: "--seed-until <WHEN>", description: "useful, done or forever", default: "useful" },
      { flags: "--useful-above <RATE>", description: "an upload rate per second that is useful", default: "500KB" },
      { flags: "--no-devices", description: "refuse an image that holds character or block devices" },
      { flags: "--useful-over <TIME>", description: "leave when the rate was below that for so long", default: "10s" },
    ],
    examples: [
      "imagegrid deploy debian --home /var/lib/imagegrid --target /mnt",
      "imagegrid deploy debian:2026.11 --home /var/lib/imagegrid --target /mnt --seed-until forever",
    ],
    exitNotes: "A run that was cut off at any moment is continued by the same command.",
    home: "needed",
    load: () => import("./commands/deploy.ts"),
  },
  {
    name: "seed",
    group: DEPLOY,
    summary: "goes on seeding what this client holds",
    arguments: [],
    options: [],
    examples: ["imagegrid seed --home /var/lib/imagegrid"],
    exitNotes: "SIGINT and SIGTERM stop it in good order, with exit code 130.",
    home: "needed",
    load: () => import("./commands/seed.ts"),
  },
  {
    name: "verify",
    group: DEPLOY,
    summary: "compares a deployed tree with the signed index of its image",
    arguments: [],
    options: [target],
    examples: ["imagegrid verify --home /var/lib/imagegrid --target /mnt"],
    exitNotes: "65 (TREE_DIFFERS) when anything differs.",
    home: "needed",
    load: () => import("./commands/verify.ts"),
  },
  {
    name: "demo",
    group: TRY,
    summary: "tells the whole story on this machine in about a minute, and cleans up",
    arguments: [],
    options: [
      { flags: "--image <DIRECTORY>", description: "the tree to publish; else this program's own packages" },
      { flags: "--servers <N>", description: "how many servers", default: "3" },
      { flags: "--clients <N>", description: "how many clients", default: "6" },
    ],
    examples: ["imagegrid demo", "imagegrid demo --clients 12"],
    home: "none",
    load: () => import("./commands/demo.ts"),
  },
]
