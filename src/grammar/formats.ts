/** The `format`s of JSON Schema as regular expressions. */

interface Format {
  /** What a model writes: every text is valid, and none is very long. */
  readonly writes: string
  /** All valid texts, where they are more. */
  readonly allows?: string
  /** `writes` has many cases, so a pattern beside the format is intersected with the simpler `allows`. */
  readonly isLarge?: boolean
}

const LEAP = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
/** Python's dates begin with the year 1. */
const YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
const LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
const DAY_28 = "(?:0[1-9]|1[0-9]|2[0-8])"
const dateOf = (year: string, leapYear: string): string =>
  `(?:${year}-(?:(?:0[13578]|1[02])-(?:${DAY_28}|29|30|31)|(?:0[469]|11)-(?:${DAY_28}|29|30)|02-${DAY_28})|${leapYear}-02-29)`
const DATE: Format = { writes: dateOf(YEAR, LEAP_YEAR), allows: dateOf("[0-9]{4}", LEAP) }
const timeOf = (fraction: string): string =>
  `(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.${fraction})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])`
const TIME: Format = { writes: timeOf("[0-9]{1,6}"), allows: timeOf("[0-9]+") }

/** RFC 3339, appendix A. */
function durationOf(n: string): string {
  const time = `T(?:${n}H(?:${n}M(?:${n}S)?)?|${n}M(?:${n}S)?|${n}S)`
  const date = `(?:${n}Y(?:${n}M(?:${n}D)?)?|${n}M(?:${n}D)?|${n}D)`
  return `P(?:${date}(?:${time})?|${time}|${n}W)`
}
const ANY_DURATION =
  "P(?:[0-9]+W|[0-9]+[YMD]|(?:[0-9]+Y)?(?:[0-9]+M)?(?:[0-9]+D)?(?:T(?:[0-9]+H(?:[0-9]+M)?(?:[0-9]+(?:[.,][0-9]+)?S)?|[0-9]+M(?:[0-9]+(?:[.,][0-9]+)?S)?|[0-9]+(?:[.,][0-9]+)?S)))"

const BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
const IPV4 = `${BYTE}(?:\\.${BYTE}){3}`
const HEX = "[0-9a-fA-F]"
const GROUP = `${HEX}{1,4}`

/** RFC 4291: eight groups; `::` stands for one or more of them; the last two may be an IPv4 address. */
function ipv6(): string {
  const last = `(?:${GROUP}:${GROUP}|${IPV4})`
  const forms = [`(?:${GROUP}:){6}${last}`]
  for (let before = 0; before <= 7; before++) {
    const head = before === 0 ? "" : `${GROUP}(?::${GROUP}){${before - 1}}`
    const after = 7 - before
    const tails = [""]
    if (after >= 1) tails.push(`${GROUP}(?::${GROUP}){0,${after - 1}}`)
    if (after >= 2) tails.push(`(?:${GROUP}:){0,${after - 2}}${IPV4}`)
    forms.push(`${head}::(?:${tails.join("|")})`)
  }
  return `(?:${forms.join("|")})`
}
const IPV6 = ipv6()

/** Without hyphens in the third and fourth place, which mark encoded names. */
const LABEL = "[a-z0-9](?:[a-z0-9]{0,15}(?:-[a-z0-9]{1,8}){0,2})"
const TOP = "[a-z]{2,16}"
const NAME = `(?:${LABEL}\\.){1,4}${TOP}`
const ANY_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
const ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"

const PERCENT = `%${HEX}{2}`
const pchar = (more: string): string => `(?:[A-Za-z0-9._~!$&'()*+,;=:@${more}-]|${PERCENT})`
const REST = `(?:/${pchar("/")}{0,400})?(?:\\?${pchar("/?")}{0,150})?(?:#${pchar("/?")}{0,50})?`
const AUTHORITY = `(?:${NAME}|localhost|${IPV4})(?::[1-9][0-9]{0,3})?`
const OPAQUE = `(?:mailto|urn|tel|data|news|did|doi|magnet|about|sms|geo):${pchar("")}${pchar("/")}{0,400}`
const anyPath = (more: string): string => `(?:[A-Za-z0-9._~!$&'()*+,;=:@/${more}-]|${PERCENT})*`
const ANY_REFERENCE = `(?://[A-Za-z0-9._~!$&'()*+,;=:@%\\[\\]-]*(?:/${anyPath("")})?|${anyPath("")})(?:\\?${anyPath("?")})?(?:#${anyPath("?")})?`
const URI: Format = {
  writes: `(?:[a-z][a-z0-9+.-]{0,15}://${AUTHORITY}${REST}|${OPAQUE})`,
  allows: `[A-Za-z][A-Za-z0-9+.-]*:${ANY_REFERENCE}`,
  isLarge: true,
}
const REFERENCE: Format = {
  writes: `(?:https?://${AUTHORITY}${REST}|//${AUTHORITY}${REST}|\\.{0,2}${REST})`,
  allows: `(?:[A-Za-z][A-Za-z0-9+.-]*:${ANY_REFERENCE}|${ANY_REFERENCE})`,
  isLarge: true,
}

const HOSTNAME: Format = { writes: `${LABEL}(?:\\.${LABEL}){0,4}`, allows: `${ANY_LABEL}(?:\\.${ANY_LABEL})*\\.?` }
const EMAIL: Format = {
  writes: `[A-Za-z0-9_+-]{1,24}(?:\\.[A-Za-z0-9_+-]{1,24}){0,1}@${NAME}`,
  allows: `${ATOM}+(?:\\.${ATOM}+)*@${ANY_LABEL}(?:\\.${ANY_LABEL})*`,
}
const POINTER = "(?:/(?:[^~/]|~[01])*)*"
const BASE64 = "(?:[0-9a-zA-Z+/]{4})*(?:[0-9a-zA-Z+/][AQgw]==|[0-9a-zA-Z+/]{2}[AEIMQUYcgkosw048]=)?"

/** `{"alg":…,"typ":"JWT"}` in base64url, for the algorithms of RFC 7518. */
const JWT_HEADERS = ["HS", "RS", "ES", "PS"]
  .flatMap((family) => ["256", "384", "512"].map((size) => `${family}${size}`))
  .concat("EdDSA")
  .map((alg) => Buffer.from(JSON.stringify({ alg, typ: "JWT" })).toString("base64url"))

const FORMATS: Readonly<Record<string, Format>> = {
  date: DATE,
  time: TIME,
  "date-time": { writes: `${DATE.writes}T${TIME.writes}`, allows: `${DATE.allows}T${TIME.allows}` },
  duration: { writes: durationOf("[0-9]{1,6}"), allows: ANY_DURATION },
  uuid: { writes: `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}` },
  ipv4: { writes: IPV4 },
  ipv6: { writes: IPV6 },
  hostname: HOSTNAME,
  "idn-hostname": HOSTNAME,
  email: EMAIL,
  "idn-email": EMAIL,
  uri: URI,
  url: URI,
  iri: URI,
  "uri-reference": REFERENCE,
  "iri-reference": REFERENCE,
  "json-pointer": { writes: POINTER },
  "relative-json-pointer": { writes: `(?:0|[1-9][0-9]{0,5})(?:#|${POINTER})` },
  base64: { writes: BASE64, allows: "(?:[0-9a-zA-Z+/]{4})*(?:[0-9a-zA-Z+/]{2}==|[0-9a-zA-Z+/]{3}=)?" },
  byte: { writes: BASE64, allows: "(?:[0-9a-zA-Z+/]{4})*(?:[0-9a-zA-Z+/]{2}==|[0-9a-zA-Z+/]{3}=)?" },
  base64url: {
    writes: "(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?",
    allows: "(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2}(?:==)?|[A-Za-z0-9_-]{3}=?)?",
  },
  base32: { writes: "(?:[A-Z2-7]{8})*(?:[A-Z2-7]{2}={6}|[A-Z2-7]{4}={4}|[A-Z2-7]{5}={3}|[A-Z2-7]{7}=)?" },
  base16: { writes: "(?:[0-9a-fA-F]{2})*" },
  jwt: {
    writes: `(?:${JWT_HEADERS.join("|")})\\.eyJ[A-Za-z0-9_-]{4,120}\\.(?:[A-Za-z0-9_-]{43}|[A-Za-z0-9_-]{86})`,
    allows: "[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]*",
    isLarge: true,
  },
}

/** A format; `undefined`: it is an annotation. `regex` is one, because regular expressions are no regular language. */
export const formatOf = (name: string): Format | undefined => (Object.hasOwn(FORMATS, name) ? FORMATS[name] : undefined)

/** The texts of `uri` that are addresses of the web. */
export const WEB_ADDRESS = `https?://${AUTHORITY}${REST}`
