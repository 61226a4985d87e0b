import { afterAll, describe, expect, test } from "bun:test"
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Recipe } from "../../../scripts/build/backends.ts"
import { findCompiler } from "../../../scripts/build/compilers.ts"
import { BuildError, buildLibrary, parseDepfile } from "../../../scripts/build/incremental.ts"

const root = mkdtempSync(join(tmpdir(), "rocmforge build "))
afterAll(() => rmSync(root, { recursive: true }))

const search = await findCompiler()
if ("missing" in search) throw new Error(search.missing)
const { command } = search.compiler

/** Modification time of the newest file, in seconds. Inputs as new as the start of a build count as changed during the build. */
let clock = Date.now() / 1000 - 3600
function write(path: string, text: string): void {
  writeFileSync(path, text)
  clock++
  utimesSync(path, clock, clock)
}

/** A library of two sources, one with a header, in a separate folder with a space in its name. */
function project(name: string) {
  const path = (file: string) => join(root, `${name}-${file}`)
  write(path("size.h"), "#define SIZE 1\n")
  write(path("a.cpp"), `#include "${path("size.h")}"\nextern "C" int size() { return SIZE; }\n`)
  write(path("b.cpp"), `extern "C" int other() { return 2; }\n`)
  const compile = [...command, "-std=c++17", "-fPIC", "-Wall", "-c"]
  const recipe: Recipe = {
    toolchain: "test",
    units: ["a.cpp", "b.cpp"].map((file) => ({ source: path(file), command: compile })),
    link: [...command, "-shared"],
  }
  const said: string[] = []
  const build = (options: { force?: boolean; werror?: boolean; recipe?: Recipe } = {}) =>
    buildLibrary({
      recipe: options.recipe ?? recipe,
      objectFolder: join(root, `${name}-obj`),
      library: path("lib.so"),
      force: options.force ?? false,
      werror: options.werror ?? false,
      print: (line) => said.push(line),
    })
  return { path, recipe, build, said }
}

describe("buildLibrary", () => {
  test("compiles once, then only changed sources", async () => {
    const { path, build } = project("changes")
    expect(await build()).toEqual({ compiled: 2, linked: true })
    expect(await build()).toEqual({ compiled: 0, linked: false })

    write(path("size.h"), "#define SIZE 1\n") // same content, new modification time
    expect(await build()).toEqual({ compiled: 0, linked: false })

    write(path("size.h"), "#define SIZE 3\n")
    expect(await build()).toEqual({ compiled: 1, linked: true })
    expect(await build({ force: true })).toEqual({ compiled: 2, linked: true })
  })

  test("builds again after other flags, another compiler or a removed library", async () => {
    const { path, recipe, build } = project("flags")
    await build()
    const optimized = { ...recipe, units: recipe.units.map((unit) => ({ ...unit, command: [...unit.command, "-O1"] })) }
    expect(await build({ recipe: optimized })).toEqual({ compiled: 2, linked: true })
    expect(await build({ recipe: { ...optimized, toolchain: "newer" } })).toEqual({ compiled: 2, linked: true })
    rmSync(path("lib.so"))
    expect(await build({ recipe: { ...optimized, toolchain: "newer" } })).toEqual({ compiled: 0, linked: true })
  })

  test("a source that does not compile is an error with the compiler's output, and is compiled again", async () => {
    const { path, build } = project("errors")
    write(path("b.cpp"), "int broken = ;\n")
    for (let i = 0; i < 2; i++) {
      const error = await build().catch((thrown: unknown) => thrown)
      expect(error).toBeInstanceOf(BuildError)
      expect(String(error)).toContain("b.cpp:1:")
    }
    write(path("b.cpp"), "int fixed = 1;\n")
    expect(await build()).toEqual({ compiled: 1, linked: true })
  })

  test("a warning is printed; with werror it is an error, even if an earlier build accepted it", async () => {
    const { path, build, said } = project("warnings")
    write(path("b.cpp"), 'extern "C" int other() { int unused; return 2; }\n')
    await build()
    expect(said.join("\n")).toContain("unused")
    expect(await build()).toEqual({ compiled: 0, linked: false })
    expect(await build({ werror: true }).catch((error: unknown) => error)).toBeInstanceOf(BuildError)
  })

  test("the plain link is used if the preferred link fails", async () => {
    const { recipe, build } = project("link")
    const linkPreferred = [...recipe.link, "-lno-such-library-anywhere"]
    expect(await build({ recipe: { ...recipe, linkPreferred } })).toEqual({ compiled: 2, linked: true })
    const error = await build({ force: true, recipe: { ...recipe, link: linkPreferred } }).catch(
      (thrown: unknown) => thrown,
    )
    expect(String(error)).toContain("no-such-library-anywhere")
  })
})

describe("parseDepfile", () => {
  test("continued lines and spaces in names", () => {
    expect(parseDepfile("out/a.o: a.cpp \\\n /usr/include/x.h \\\n  with\\ space.h\n")).toEqual([
      "a.cpp",
      "/usr/include/x.h",
      "with space.h",
    ])
  })
})
