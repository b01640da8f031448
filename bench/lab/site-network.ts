/**
 * A network of several sites: each a bridge with its hosts, joined to the others by one link that is shaped in both directions. Hosts of one site reach
 * one another as fast as the machine goes. Nothing outside can reach it, and it is gone after `close`.
 */
import { batch, run } from "./command.ts"
import { labName, listNamespaces, ownNames, removeNamespaces } from "./leftovers.ts"
import { delayLine, shapingLine } from "./shaping.ts"

export type SiteNetworkOptions = {
  readonly sites: number
  readonly hostsPerSite: number
  /** Of the link that joins a site to the others, each way. */
  readonly wanBytesPerSecond: number
  /** One way, over one such link. Where the kernel has no netem it must be 0. */
  readonly wanDelayMs: number
}

/** Both counted from 0. */
export type SiteHost = { readonly site: number; readonly host: number }

export class SiteNetwork implements AsyncDisposable {
  readonly #options: SiteNetworkOptions
  readonly #pid: number

  private constructor(options: SiteNetworkOptions, pid: number) {
    this.#options = options
    this.#pid = pid
  }

  /** @throws {Error} when the kernel refuses a part of it; nothing is left then */
  static async create(options: SiteNetworkOptions, pid = process.pid): Promise<SiteNetwork> {
    const network = new SiteNetwork(options, pid)
    try {
      await network.#make()
    } catch (error) {
      await network.close()
      throw error
    }
    return network
  }

  /** IPv4. */
  addressOf({ site, host }: SiteHost): string {
    return `10.78.${site + 1}.${host + 1}`
  }

  /** The words of nsenter before a program's own that make it run on this host. */
  enter(at: SiteHost): readonly string[] {
    return [`--net=/run/netns/${this.#nameOf(at)}`]
  }

  /** Cuts a site off from the others, or joins it again. */
  async part(site: number, how: "apart" | "joined"): Promise<void> {
    await batch("ip", this.#wan, [`link set wan${site} ${how === "apart" ? "down" : "up"}`])
  }

  /** Bytes that have left and entered a site over its link, headers counted. */
  async crossed(site: number): Promise<{ readonly outBytes: number; readonly inBytes: number }> {
    const listing = await run("ip", ["-netns", this.#bridge(site), "-s", "-j", "link", "show", "uplink"])
    const [link] = JSON.parse(listing) as [{ stats64: { tx: { bytes: number }; rx: { bytes: number } } }]
    return { outBytes: link.stats64.tx.bytes, inBytes: link.stats64.rx.bytes }
  }

  /** Ends what still runs in it. Doing it again is harmless. */
  async close(): Promise<void> {
    await removeNamespaces(ownNames(await listNamespaces(), this.#pid))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get #wan(): string {
    return labName(this.#pid, "wan")
  }

  #bridge(site: number): string {
    return labName(this.#pid, `site${site}`)
  }

  #nameOf({ site, host }: SiteHost): string {
    return labName(this.#pid, `s${site}h${host}`)
  }

  #hosts(site: number): SiteHost[] {
    return Array.from({ length: this.#options.hostsPerSite }, (_, host) => ({ site, host }))
  }

  async #make(): Promise<void> {
    const sites = Array.from({ length: this.#options.sites }, (_, site) => site)
    const names = [this.#wan, ...sites.flatMap((site) => [this.#bridge(site), ...this.#hosts(site).map((at) => this.#nameOf(at))])]
    await batch(
      "ip",
      null,
      names.map((name) => `netns add ${name}`),
    )
    const bridge = ["link set lo up", "link add bridge type bridge stp_state 0 mcast_snooping 0", "link set bridge up"]
    await batch("ip", this.#wan, [
      ...bridge,
      ...sites.flatMap((site) => [
        `link add wan${site} type veth peer name uplink netns ${this.#bridge(site)}`,
        `link set wan${site} master bridge up`,
      ]),
    ])
    for (const site of sites) {
      const links = this.#hosts(site).flatMap(({ host }) => [
        `link add h${host} type veth peer name eth0 netns ${this.#nameOf({ site, host })}`,
        `link set h${host} master bridge up`,
      ])
      await batch("ip", this.#bridge(site), [...bridge, "link set uplink master bridge up", ...links])
      await this.#shape(site)
      for (const at of this.#hosts(site))
        await batch("ip", this.#nameOf(at), [
          "link set lo up",
          `address add ${this.addressOf(at)}/16 broadcast + dev eth0`,
          "link set eth0 up",
        ])
    }
  }

  /** What leaves the site on its own end of the link, what enters it on the other. */
  async #shape(site: number): Promise<void> {
    const { wanBytesPerSecond, wanDelayMs } = this.#options
    await batch("tc", this.#bridge(site), [shapingLine("uplink", wanBytesPerSecond)])
    await batch("tc", this.#wan, [shapingLine(`wan${site}`, wanBytesPerSecond)])
    if (wanDelayMs === 0) return
    try {
      await batch("tc", this.#bridge(site), [delayLine("uplink", wanDelayMs)])
    } catch (cause) {
      throw new Error("this kernel can't delay packets: a delay needs its module sch_netem", { cause })
    }
  }
}
