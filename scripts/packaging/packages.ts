/** The npm package and the Debian package, from a bundle. Both are the same bytes for the same input: times are fixed and names are sorted. */
import { execFile } from "node:child_process"
import { chmod, copyFile, cp, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { promisify } from "node:util"
import { gzipSync } from "node:zlib"

import { commands } from "../../cli/commands.ts"
import { manPages } from "../../cli/man-page.ts"

const run = promisify(execFile)
/** 2026-01-01, for all files. */
const FIXED_S = 1_767_225_600
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", arm64: "arm64" }

export type Parts = {
  readonly root: string
  readonly bundle: string
  readonly version: string
  readonly out: string
  readonly work: string
}

/** Returns its path. */
export async function makeNpmPackage({ root, bundle, version, out, work }: Parts): Promise<string> {
  const top = join(work, "npm", "package")
  await layOut(root, bundle, top)
  await copyFile(join(root, "README.md"), join(top, "README.md"))
  const contents = {
    name: "imagegrid",
    version,
    description: "Deploys operating-system images to many machines from many servers, peer to peer, signed and sealed",
    license: "MIT",
    bin: { imagegrid: "bin/imagegrid" },
    engines: { node: ">=24" },
    os: ["linux"],
  }
  await writeFile(join(top, "package.json"), `${JSON.stringify(contents, null, 2)}\n`)
  const path = join(out, `imagegrid-${version}.tgz`)
  await writeFile(path, await archiveOf(join(work, "npm"), "package"))
  return path
}

/** With its own Node, so that it needs nothing but GNU tar. @throws {Error} without dpkg-deb */
export async function makeDebianPackage({ root, bundle, version, out, work }: Parts, node: string): Promise<string> {
  const architecture = ARCHITECTURES[process.arch]
  if (architecture === undefined) throw new Error(`there is no Debian package for ${process.arch}`)
  const tree = join(work, "deb")
  const top = join(tree, "usr/lib/imagegrid")
  await layOut(root, bundle, top)
  await copyFile(node, join(top, "node"))
  await chmod(join(top, "node"), 0o755)
  await run("strip", ["--strip-unneeded", join(top, "node")]).catch(() => {
    throw new Error("the Debian package needs strip, for its Node (Debian: apt install binutils)")
  })
  await mkdir(join(tree, "usr/bin"), { recursive: true })
  await run("ln", ["-s", "../lib/imagegrid/bin/imagegrid", join(tree, "usr/bin/imagegrid")])
  await mkdir(join(tree, "usr/share/doc"), { recursive: true })
  await cp(join(root, "docs"), join(tree, "usr/share/doc/imagegrid"), { recursive: true })
  await copyFile(join(root, "LICENSE"), join(tree, "usr/share/doc/imagegrid/copyright"))
  await mkdir(join(tree, "usr/lib/systemd/system"), { recursive: true })
  const debian = join(root, "scripts/packaging/debian")
  await copyFile(join(debian, "imagegrid-server.service"), join(tree, "usr/lib/systemd/system/imagegrid-server.service"))
  const manuals = join(tree, "usr/share/man/man1")
  await mkdir(manuals, { recursive: true })
  for (const { file, text } of manPages(commands, version)) await writeFile(join(manuals, `${file}.gz`), gzipSync(text, { level: 9 }))
  const control = join(tree, "DEBIAN")
  await mkdir(control)
  for (const script of ["postinst", "prerm", "postrm"]) {
    await copyFile(join(debian, script), join(control, script))
    await chmod(join(control, script), 0o755)
  }
  const fields = {
    Package: "imagegrid",
    Version: version,
    Architecture: architecture,
    Maintainer: "The imagegrid developers <imagegrid@localhost>",
    "Installed-Size": String(Math.ceil((await sizeOf(tree)) / 1024)),
    Depends: "tar (>= 1.29), passwd",
    Section: "admin",
    Priority: "optional",
    Description:
      "deploys operating-system images to many machines, peer to peer\n Servers publish signed, encrypted images; clients fetch them from every server\n and every client that has a piece, verify each entry, and seed.",
  }
  await writeFile(
    join(control, "control"),
    Object.entries(fields)
      .map(([name, value]) => `${name}: ${value}\n`)
      .join(""),
  )
  await fixTimes(tree)
  const path = join(out, `imagegrid_${version}_${architecture}.deb`)
  await run("dpkg-deb", ["--root-owner-group", "-Zxz", "--build", tree, path], {
    env: { ...process.env, SOURCE_DATE_EPOCH: String(FIXED_S) },
  }).catch((cause: unknown) => {
    throw new Error("the Debian package needs dpkg-deb (Debian: apt install dpkg)", { cause })
  })
  return path
}

async function layOut(root: string, bundle: string, top: string): Promise<void> {
  await rm(top, { recursive: true, force: true })
  await mkdir(join(top, "bin"), { recursive: true })
  await cp(bundle, join(top, "lib"), { recursive: true })
  await copyFile(join(root, "scripts/packaging/imagegrid.sh"), join(top, "bin/imagegrid"))
  await chmod(join(top, "bin/imagegrid"), 0o755)
  await copyFile(join(root, "LICENSE"), join(top, "LICENSE"))
}

async function archiveOf(directory: string, name: string): Promise<Buffer> {
  const fixed = ["--sort=name", `--mtime=@${FIXED_S}`, "--owner=0", "--group=0", "--numeric-owner", "--mode=u+rw,go-w", "--format=ustar"]
  const { stdout } = await run("tar", [...fixed, "-C", directory, "-cf", "-", name], {
    encoding: "buffer",
    maxBuffer: 2 ** 30,
    env: { ...process.env, LC_ALL: "C" },
  })
  return gzipSync(stdout, { level: 9 })
}

async function fixTimes(directory: string): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true }))
    if (!entry.isSymbolicLink()) await utimes(join(entry.parentPath, entry.name), FIXED_S, FIXED_S)
  await utimes(directory, FIXED_S, FIXED_S)
}

async function sizeOf(directory: string): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true }))
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size
  return bytes
}

export async function versionOf(root: string): Promise<string> {
  return (JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string }).version
}
