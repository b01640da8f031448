/**
 * The network of one run: a namespace that holds a bridge, and one for each host, joined to it by a link that is shaped in both directions: what a host
 * sends on its own side, what it receives on the bridge's. Nothing outside can reach it, and it is gone after `close`.
 */
import { availableParallelism } from "node:os"
import { run } from "./command.ts"
import { LAB_NETWORK, type LabHost } from "./hosts.ts"
import { bridgeNamespace, hostNamespace, listNamespaces, namespacesOf, removeNamespaces } from "./namespaces.ts"
import { shapingLine } from "./shaping.ts"

export type NetworkOptions = {
  /** TCP congestion control of every host. */
  readonly congestion: string
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
      await run("ip", ["-batch", "-"], namespaceLines(hosts, pid))
      const bridge = bridgeNamespace(pid)
      await run("ip", ["-n", bridge, "-batch", "-"], bridgeLines(hosts, pid))
      await run(
        "tc",
        ["-n", bridge, "-batch", "-"],
        hosts.map((host) => `${shapingLine(deviceOf(host), host.downBytesPerSecond)}\n`).join(""),
      )
      const waiting = [...hosts]
      const configureSome = async () => {
        for (let host = waiting.shift(); host !== undefined; host = waiting.shift()) await configureHost(host, options, pid)
      }
      await Promise.all(Array.from({ length: 2 * availableParallelism() }, configureSome))
    } catch (error) {
      await network.close()
      throw error
    }
    return network
  }

  /** The words before a program's own that make it run on this host. The process is the program itself: no wrapper stays. */
  enter(host: LabHost): readonly string[] {
    return ["nsenter", `--net=/run/netns/${hostNamespace(this.#pid, host.number)}`]
  }

  /** As `enter`, for the bridge: where all links can be watched. */
  enterBridge(): readonly string[] {
    return ["nsenter", `--net=/run/netns/${bridgeNamespace(this.#pid)}`]
  }

  /** Ends what still runs in it. Doing it again is harmless. */
  async close(): Promise<void> {
    await removeNamespaces(namespacesOf(await listNamespaces(), this.#pid))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** The bridge's end of a host's link. */
export function deviceOf(host: Pick<LabHost, "number">): string {
  return `h${host.number}`
}

function namespaceLines(hosts: readonly LabHost[], pid: number): string {
  return [bridgeNamespace(pid), ...hosts.map((host) => hostNamespace(pid, host.number))].map((name) => `netns add ${name}\n`).join("")
}

/** `gso_max_segs 1`: what queues and travels are frames of 1,500 bytes, each with its headers, and not the kernel's large segments. */
function bridgeLines(hosts: readonly LabHost[], pid: number): string {
  const links = hosts.flatMap((host) => [
    `link add ${deviceOf(host)} gso_max_segs 1 type veth peer name eth0 gso_max_segs 1 netns ${hostNamespace(pid, host.number)}`,
    `link set ${deviceOf(host)} master bridge up`,
  ])
  return ["link add bridge type bridge stp_state 0 mcast_snooping 0", "link set bridge up", ...links].map((line) => `${line}\n`).join("")
}

/** The route names the congestion control: the kernel's default, and which ones it lets be chosen, stay as they are. */
async function configureHost(host: LabHost, options: NetworkOptions, pid: number): Promise<void> {
  const namespace = hostNamespace(pid, host.number)
  const lines = [
    "link set lo up",
    "link set eth0 addrgenmode none",
    `address add ${host.host}/16 broadcast + dev eth0 noprefixroute`,
    "link set eth0 up",
    `route add ${LAB_NETWORK} dev eth0 src ${host.host} congctl ${options.congestion}`,
    "route add 224.0.0.0/4 dev eth0",
    "route add broadcast 255.255.255.255 dev eth0",
  ]
  await run("ip", ["-n", namespace, "-batch", "-"], lines.map((line) => `${line}\n`).join(""))
  await run("tc", ["-n", namespace, "-batch", "-"], `${shapingLine("eth0", host.upBytesPerSecond)}\n`)
}
