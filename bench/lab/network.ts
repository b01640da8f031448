/**
 * The network of one run: a namespace that holds a bridge, and one for each host, joined to it by a link that is shaped in both directions: what a host
 * sends on its own side, what it receives on the bridge's. Where there are several sites each has a bridge of its own, joined to one between them by a link that is
 * shaped in the same way. Nothing outside can reach it, and it is gone after `close`.
 */
import { availableParallelism } from "node:os"
import { atATime } from "./at-a-time.ts"
import { batch, run } from "./command.ts"
import { LAB_NETWORK, type LabHost } from "./hosts.ts"
import { labName, listNamespaces, ownNames, removeNamespaces } from "./leftovers.ts"
import { delayLine, lossLines, shapingLine } from "./shaping.ts"

export type NetworkOptions = {
  /** TCP congestion control of every host. */
  readonly congestion: string
  /** Whether the kernel may pass on several segments of one connection as one unit; the links charge each of them with its headers all the same. */
  readonly offload: boolean
  /** One way, between any two. */
  readonly delayMs: number
  /** Share of packets, 0 to 1. */
  readonly loss: number
  /** Of each site's link to the others, per direction; without it, and with null, as fast as need be. */
  readonly wideAreaBytesPerSecond?: number | null
}

export class LabNetwork {
  readonly #pid: number

  private constructor(pid: number) {
    this.#pid = pid
  }

  /** @throws {Error} when the kernel refuses a part of it; nothing is left then */
  static async create(hosts: readonly LabHost[], options: NetworkOptions, pid = process.pid): Promise<LabNetwork> {
    const network = new LabNetwork(pid)
    try {
      const bridge = bridgeNamespace(pid)
      const names = [bridge, ...hosts.map((host) => hostNamespace(pid, host.number))]
      await batch(
        "ip",
        null,
        names.map((name) => `netns add ${name}`),
      )
      await batch("ip", bridge, bridgeLines(hosts, options, pid))
      await batch("tc", bridge, [
        ...hosts.map((host) => shapingLine(deviceOf(host), host.downBytesPerSecond)),
        ...wideAreaShaping(hosts, options),
      ])
      await run("nsenter", [...network.enterBridge(), "sh", "-c", BRIDGE_PASSES_BY_FIREWALL])
      if (options.loss > 0) await network.#lose(hosts, options.loss)
      await atATime(2 * availableParallelism(), hosts, async (host) => await configureHost(host, hosts, options, pid))
    } catch (error) {
      await network.close()
      throw error
    }
    return network
  }

  /** The words of nsenter before a program's own that make it run on this host. The process becomes the program: no wrapper stays. */
  enter(host: LabHost): readonly string[] {
    return entering(hostNamespace(this.#pid, host.number))
  }

  /** As `enter`, for the bridge: where all links can be watched. */
  enterBridge(): readonly string[] {
    return entering(bridgeNamespace(this.#pid))
  }

  /** Parts these hosts from one another until they are joined again; every other host reaches all. */
  async part(hosts: readonly LabHost[], how: "apart" | "joined"): Promise<void> {
    const isolated = how === "apart" ? "on" : "off"
    const lines = hosts.map((host) => `link set dev ${deviceOf(host)} type bridge_slave isolated ${isolated}`)
    await batch("ip", bridgeNamespace(this.#pid), lines)
  }

  /** Ends what still runs in it. Doing it again is harmless. */
  async close(): Promise<void> {
    await removeNamespaces(ownNames(await listNamespaces(), this.#pid))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #lose(hosts: readonly LabHost[], share: number): Promise<void> {
    try {
      const lines = hosts.flatMap((host) => lossLines(deviceOf(host), share, SINK))
      await batch("tc", bridgeNamespace(this.#pid), lines)
    } catch (cause) {
      throw new Error("this kernel can't lose packets at random: --loss needs its modules cls_bpf and act_mirred", { cause })
    }
  }
}

function entering(namespace: string): string[] {
  return [`--net=/run/netns/${namespace}`]
}

/** The namespace that holds the bridge and nothing else. */
function bridgeNamespace(pid: number): string {
  return labName(pid, "bridge")
}

function hostNamespace(pid: number, number: number): string {
  return labName(pid, number)
}

/** The bridge's end of a host's link. */
export function deviceOf(host: Pick<LabHost, "number">): string {
  return `h${host.number}`
}

/** Where lost packets go: a link whose other end hears nothing. */
const SINK = "sink"
/** The hosts' packets cross no firewall: where bridges are told to ask one, it costs CPU for nothing. */
const BRIDGE_PASSES_BY_FIREWALL = "for each in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e $each ] || echo 0 > $each; done"

/**
 * With offload: TCP hands over at least eight segments at a time where it has them. On slow links it would be two, and a receiver would be woken for every
 * frame, which costs 17 hosts on two cores more than the transfer itself.
 */
const SEGMENTS_TRAVEL_TOGETHER = "echo 8 > /proc/sys/net/ipv4/tcp_min_tso_segs"

/** `gso_max_segs 1`: what queues and travels are frames of 1,500 bytes, and not the kernel's large segments. */
function bridgeLines(hosts: readonly LabHost[], { offload }: NetworkOptions, pid: number): string[] {
  const segments = offload ? "" : "gso_max_segs 1"
  const sites = sitesOf(hosts)
  const links = hosts.flatMap((host) => [
    `link add ${deviceOf(host)} ${segments} type veth peer name eth0 address ${macOf(host)} ${segments} netns ${hostNamespace(pid, host.number)}`,
    `link set ${deviceOf(host)} master ${bridgeOf(host.site)} up`,
  ])
  const between = sites.flatMap((site) => [
    `link add ${wideAreaDevice(site)} ${segments} type veth peer name ${BETWEEN}${site} ${segments}`,
    `link set ${wideAreaDevice(site)} master ${bridgeOf(site)} up`,
    `link set ${BETWEEN}${site} master ${BETWEEN} up`,
  ])
  const sink = [`link add ${SINK} type veth peer name ${SINK}-end`, `link set ${SINK} up`, `link set ${SINK}-end up`]
  const bridges = [...sites.map(bridgeOf), ...(sites.length > 1 ? [BETWEEN] : [])].flatMap((bridge) => [
    `link add ${bridge} type bridge stp_state 0 mcast_snooping 0`,
    `link set ${bridge} up`,
  ])
  return [...bridges, ...sink, ...links, ...(sites.length > 1 ? between : [])]
}

/** The bridge between those of the sites; with a site's number, its end of the link to that site. */
const BETWEEN = "between"

function sitesOf(hosts: readonly LabHost[]): number[] {
  return [...new Set(hosts.map(({ site }) => site))]
}

function bridgeOf(site: number): string {
  return `bridge${site}`
}

/** The end of a site's wide-area link at the site's own bridge: it transmits what the site sends to others. */
export function wideAreaDevice(site: number): string {
  return `wan${site}`
}

/** Both ends of each site's wide-area link. */
function wideAreaShaping(hosts: readonly LabHost[], { wideAreaBytesPerSecond = null }: NetworkOptions): string[] {
  const sites = sitesOf(hosts)
  if (sites.length < 2 || wideAreaBytesPerSecond === null) return []
  return sites.flatMap((site) => [wideAreaDevice(site), `${BETWEEN}${site}`]).map((device) => shapingLine(device, wideAreaBytesPerSecond))
}

/** A locally administered address. */
function macOf({ number }: LabHost): string {
  const digits = number.toString(16).padStart(4, "0")
  return `02:00:00:00:${digits.slice(0, 2)}:${digits.slice(2)}`
}

/**
 * The route names the congestion control: the kernel's default, and which ones it lets be chosen, stay as they are. Everyone knows everyone's Ethernet address: at 150 hosts,
 * asking by broadcast would take a third of a second of each 3 Mbit/s link, and next to nothing of the gigabit links that these stand for.
 */
async function configureHost(host: LabHost, all: readonly LabHost[], options: NetworkOptions, pid: number): Promise<void> {
  const namespace = hostNamespace(pid, host.number)
  const lines = [
    "link set lo up",
    // No IPv6, not even its own address.
    "link set eth0 addrgenmode none",
    `address add ${host.host}/16 broadcast + dev eth0 noprefixroute`,
    "link set eth0 up",
    `route add ${LAB_NETWORK} dev eth0 src ${host.host} congctl ${options.congestion}`,
    "route add 224.0.0.0/4 dev eth0",
    ...all.filter((other) => other !== host).map((other) => `neigh add ${other.host} lladdr ${macOf(other)} dev eth0 nud permanent`),
  ]
  await batch("ip", namespace, lines)
  await batch("tc", namespace, [shapingLine("eth0", host.upBytesPerSecond)])
  if (options.offload) await run("nsenter", [...entering(namespace), "sh", "-c", SEGMENTS_TRAVEL_TOGETHER])
  if (options.delayMs > 0) await delay(namespace, options.delayMs)
}

async function delay(namespace: string, delayMs: number): Promise<void> {
  try {
    await batch("tc", namespace, [delayLine("eth0", delayMs)])
  } catch (cause) {
    throw new Error("this kernel can't delay packets: --delay needs its module sch_netem (the simulator has delay everywhere)", { cause })
  }
}
