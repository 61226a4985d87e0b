import { expect, test } from "bun:test"
import { basename, join } from "node:path"
import { Glob } from "bun"

const GPU = join(import.meta.dir, "../../../hip/gpu")

/** Names of the kernels that each unit defines; a name formed by a macro ends before its ##. */
async function kernelsByUnit(): Promise<Map<string, string[]>> {
  const units = new Map<string, string[]>()
  for (const file of new Glob("kernels/*.hip").scanSync(GPU)) {
    const text = await Bun.file(join(GPU, file)).text()
    const names = [...text.matchAll(/RF_KERNEL\w*\([^)]*\)\s+(rf_\w+)/g)].map((match) => match[1] ?? "")
    units.set(basename(file, ".hip"), names)
  }
  return units
}

test("the host looks for every kernel in the unit that defines it", async () => {
  const source = await Bun.file(join(GPU, "device.cpp")).text()
  const table = source.slice(source.indexOf("kUnits[] = {"), source.indexOf('kernel.rfind("rf_matmul_"'))
  const prefixes = [...table.matchAll(/\{"(rf_\w+)",\s*"([\w-]+)"\}/g)].map(([, prefix = "", unit = ""]) => [
    prefix,
    unit,
  ])
  expect(prefixes.length).toBeGreaterThan(5)
  const unitOf = (kernel: string) => prefixes.find(([prefix = ""]) => kernel.startsWith(prefix))?.[1] ?? "rows"
  let seen = 0
  for (const [unit, kernels] of await kernelsByUnit()) {
    if (unit.startsWith("matmul-")) continue
    for (const kernel of kernels) {
      expect(`${kernel} in ${unitOf(kernel)}`).toBe(`${kernel} in ${unit}`)
      seen++
    }
  }
  expect(seen).toBeGreaterThan(20)
})

/** The function that starts at `at`: up to the brace that closes it. */
function bodyAt(text: string, at: number): string {
  let depth = 0
  for (let i = text.indexOf("{", at); i < text.length; i++) {
    if (text[i] === "{") depth++
    if (text[i] === "}" && --depth === 0) return text.slice(at, i)
  }
  return text.slice(at)
}

// A kernel that does not wait could read data that the previous kernel is still writing.
test("every kernel of a plan waits for the previous kernel", async () => {
  const headers = await Promise.all(
    [...new Glob("kernels/*.{h,hip}").scanSync(GPU)].map((f) => Bun.file(join(GPU, f)).text()),
  )
  const all = headers.join("\n")
  /** Functions that call begin_kernel, directly or through others. */
  const waits = new Set(["begin_kernel"])
  const functions = [
    ...all.matchAll(/^(?:RF_KERNEL\w*\([^)]*\)|RF_DEVICE\s+void|RF_DEVICE \w[\w<>, ]*)\s+(\w+)\(/gm),
  ].map((m) => ({
    name: m[1] ?? "",
    body: bodyAt(all, m.index),
  }))
  for (let before = 0; before !== waits.size; ) {
    before = waits.size
    for (const { name, body } of functions) {
      if ([...waits].some((callee) => new RegExp(`\\b${callee}(<[^;]*?>)?\\(`).test(body.slice(body.indexOf("{")))))
        waits.add(name)
    }
  }
  const outside = /^rf_(repack|copy_stream|multiply_registers)$/ // not part of a plan
  const kernels = functions.filter(({ name }) => name.startsWith("rf_") && !outside.test(name)).map(({ name }) => name)
  expect(kernels.length).toBeGreaterThan(15)
  expect(kernels.filter((name) => !waits.has(name))).toEqual([])
})
