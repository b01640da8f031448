import assert from "node:assert/strict"
import { test } from "node:test"
import { rootFile } from "./source-files.ts"

type Package = { readonly dependencies?: Versions; readonly devDependencies?: Versions; readonly optionalDependencies?: Versions }
type Versions = Readonly<Record<string, string>>
type Locked = { readonly version?: string; readonly resolved?: string; readonly integrity?: string; readonly link?: boolean }

const manifest = JSON.parse(rootFile("package.json")) as Package
const lock = JSON.parse(rootFile("package-lock.json")) as {
  readonly lockfileVersion: number
  readonly packages: Readonly<Record<string, Locked>>
}
const declared = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies }

test("package-lock.json names no host: each site installs from the registry that its own npm is set to", () => {
  assert.doesNotMatch(rootFile("package-lock.json"), /"resolved": "(?!stubs\/)/)
  assert.doesNotMatch(rootFile("package-lock.json"), /"(?:git\+|git:|ssh:|https?:\/\/[^"]*\.tgz)/)
})

test("package-lock.json pins every package by version and SHA-512", () => {
  const packages = Object.entries(lock.packages).filter(([path]) => path.startsWith("node_modules/") || path.includes("/node_modules/"))
  assert.ok(packages.length > 100, `${packages.length} packages`)
  for (const [path, { version, integrity, link }] of packages) {
    if (link === true) continue
    assert.match(integrity ?? "", /^sha512-[A-Za-z0-9+/]{86}==$/, `${path} has its SHA-512`)
    assert.match(version ?? "", /^\d+\.\d+\.\d+/, `${path} has its version`)
  }
})

test("package.json names exact versions, and package-lock.json has just those", () => {
  for (const [name, version] of Object.entries(declared)) {
    if (version.startsWith("file:stubs/")) continue
    assert.match(version, /^\d+\.\d+\.\d+$/, `${name} is pinned exactly`)
    assert.equal(lock.packages[`node_modules/${name}`]?.version, version, `${name} in package-lock.json`)
  }
})

test("docs/dependencies.md has one line for every dependency of the program, with its version, and for no other", () => {
  const lines = rootFile("docs/dependencies.md").split("\n")
  const documented = lines.flatMap((line) => {
    const [, name, version] = /^\| `([^`]+)` ([0-9.]+) \| /.exec(line) ?? []
    return name === undefined ? [] : [`${name} ${version}`]
  })
  const wanted = Object.entries({ ...manifest.dependencies, ...manifest.optionalDependencies }).map(
    ([name, version]) => `${name} ${version}`,
  )
  assert.deepEqual(documented.sort(), wanted.sort())
})
