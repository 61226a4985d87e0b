import { expect, test } from "bun:test"
import { basename, join } from "node:path"
import { Glob } from "bun"

const GPU = join(import.meta.dir, "../../../hip/gpu")

/** Kernel names (macro-made ones up to their ##) of each unit whose kernels are written out in it. */
async function kernelsByUnit(): Promise<Map<string, string[]>> {
  const units = new Map<string, string[]>()
  for (const file of new Glob("kernels/*.hip").scanSync(GPU)) {
    const text = await Bun.file(join(GPU, file)).text()
    const names = [...text.matchAll(/RF_KERNEL\w*\([^)]*\)\s+(rf_\w+)/g)].map((match) => match[1] ?? "")
    units.set(basename(file, ".hip"), names)
  }
  return units
}

test("the host looks for every kernel in the unit that holds it", async () => {
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
