"""Which functions may be called: an allow-list, so that what a new engine brings stays closed.

Not on it, on purpose: whatever reads files, settings, dictionaries, tables by their name, or the
machine (``file``, ``getSetting``, ``dictGet``, ``joinGet``, ``hostName``); whatever waits or calls
others (``sleep``, ``ai*``); states of aggregates that come from outside, and what takes a
function's name as text (``arrayReduce``); and what makes much of little (``repeat``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

_PLAIN = """
and or xor not equals notEquals less greater lessOrEquals greaterOrEquals isDistinctFrom
isNotDistinctFrom in notIn nullIn notNullIn globalIn globalNotIn exists if multiIf
caseWithExpression clamp greatest least
plus minus multiply divide intDiv intDivOrZero modulo moduloOrZero positiveModulo negate abs gcd
lcm divideOrNull moduloOrNull intDivOrNull ifNotFinite isFinite isInfinite isNaN max2 min2 midpoint
round floor ceil trunc roundBankers roundToExp2 roundDown roundAge roundDuration
sqrt cbrt pow exp exp2 exp10 log log2 log10 log1p sign sin cos tan asin acos atan atan2 sinh cosh
tanh asinh acosh atanh hypot degrees radians pi e sigmoid erf erfc widthBucket
bitAnd bitOr bitXor bitNot bitShiftLeft bitShiftRight bitTest bitTestAny bitTestAll bitCount
isNull isNotNull isNullable isZeroOrNull ifNull nullIf coalesce firstNonDefault assumeNotNull
toNullable
array arrayElement arrayElementOrNull has hasAll hasAny hasSubstr notHas indexOf countEqual length
empty notEmpty range reverse arrayAll arrayAvg arrayCompact arrayConcat arrayCount arrayCumSum
arrayCumSumNonNegative arrayDifference arrayDistinct arrayDotProduct arrayEnumerate
arrayEnumerateDense arrayEnumerateUniq arrayExcept arrayExists arrayFill arrayFilter arrayFirst
arrayFirstIndex arrayFirstOrNull arrayFlatten arrayFold arrayIntersect arrayJoin arrayLast
arrayLastIndex arrayLastOrNull arrayMap arrayMax arrayMin arrayPartialSort arrayPopBack
arrayPopFront arrayProduct arrayPushBack arrayPushFront arrayRemove arrayReverse
arrayReverseFill arrayReverseSort arrayReverseSplit arraySlice arraySort arraySplit
arrayStringConcat arraySum arrayUnion arrayUniq arrayZip arrayZipUnaligned
map mapAdd mapSubtract mapApply mapConcat mapContains mapContainsKey mapContainsKeyLike
mapContainsValue mapExists mapAll mapExtractKeyLike mapFilter mapFromArrays mapKeys mapSort
mapReverseSort mapUpdate mapValues mapPopulateSeries
tuple tupleElement tupleNames tupleConcat untuple tupleToNameValuePairs
lambda CAST accurateCast accurateCastOrNull accurateCastOrDefault toTypeName materialize identity
ignore transform toString toStringCutToZero toFixedString toBool toDecimalString toLowCardinality
toInterval reinterpretAsString
addDate subDate addInterval subtractInterval age changeDay changeHour changeMinute changeMonth
changeSecond changeYear dateDiff dateName dateTrunc formatDateTime formatDateTimeInJodaSyntax
fromUnixTimestamp fromUnixTimestamp64Milli fromUnixTimestamp64Micro fromUnixTimestamp64Nano
fromUnixTimestamp64Second makeDate makeDate32 makeDateTime makeDateTime64 monthName now now64
nowInBlock serverTimezone timeDiff timeSlot timeSlots timezone timezoneOf timezoneOffset timestamp
today yesterday toDayOfMonth toDayOfWeek toDayOfYear toDaysInMonth toHour toISOWeek toISOYear
toLastDayOfMonth toLastDayOfWeek toMillisecond toMinute toMonday toMonth toQuarter toSecond
toUnixTimestamp toUnixTimestamp64Milli toUnixTimestamp64Micro toUnixTimestamp64Nano
toUnixTimestamp64Second toWeek toYear toYearWeek toYYYYMM toYYYYMMDD toYYYYMMDDhhmmss
toTimezone toUTCTimestamp fromUTCTimestamp UTCTimestamp YYYYMMDDToDate YYYYMMDDhhmmssToDateTime
parseDateTime parseDateTimeOrNull parseDateTimeOrZero
concat concatWithSeparator concatAssumeInjective lower upper lowerUTF8 upperUTF8 initcap lengthUTF8
substring substringUTF8 substringIndex left leftUTF8 right rightUTF8 leftPad rightPad leftPadUTF8
rightPadUTF8 trimLeft trimRight trimBoth startsWith startsWithUTF8 endsWith endsWithUTF8
startsWithCaseInsensitive endsWithCaseInsensitive reverseUTF8 ascii char format
appendTrailingCharIfAbsent isValidUTF8 toValidUTF8 base64Encode base64Decode tryBase64Decode hex
unhex bin unbin
position positionCaseInsensitive positionUTF8 positionCaseInsensitiveUTF8 locate countSubstrings
countSubstringsCaseInsensitive like notLike ilike notILike match notMatch countMatches extract
extractAll extractAllGroupsHorizontal extractAllGroupsVertical extractGroups regexpExtract hasToken
hasTokenCaseInsensitive multiSearchAny multiSearchAnyCaseInsensitive multiSearchFirstIndex
replaceOne replaceAll replaceRegexpOne replaceRegexpAll regexpQuoteMeta translate
splitByChar splitByString splitByRegexp splitByWhitespace splitByNonAlpha alphaTokens tokens
extractKeyValuePairs
JSONHas JSONLength JSONType JSONExtract JSONExtractBool JSONExtractFloat JSONExtractInt
JSONExtractUInt JSONExtractString JSONExtractRaw JSONExtractArrayRaw JSONExtractKeys
JSONExtractKeysAndValues JSONExtractKeysAndValuesRaw simpleJSONExtractBool simpleJSONExtractFloat
simpleJSONExtractInt simpleJSONExtractRaw simpleJSONExtractString simpleJSONExtractUInt
simpleJSONHas JSON_VALUE JSON_EXISTS JSON_QUERY toJSONString isValidJSON
cityHash64 sipHash64 xxHash64 murmurHash3_64 intHash32 intHash64 halfMD5 MD5 SHA256
IPv4NumToString IPv4StringToNum IPv6NumToString isIPAddressInRange isIPv4String isIPv6String
domain domainWithoutWWW path protocol queryString decodeURLComponent encodeURLComponent
formatReadableSize formatReadableDecimalSize formatReadableQuantity formatReadableTimeDelta bar
rowNumberInBlock rowNumberInAllBlocks
tumble tumbleStart tumbleEnd hop hopStart hopEnd grouping version currentDatabase
"""
_SIZED = [
    f"{'' if signed else 'U'}Int{bits}" for signed in (0, 1) for bits in (8, 16, 32, 64, 128, 256)
]
_TYPES = [
    *_SIZED, "Float32", "Float64", "Date", "Date32", "DateTime", "DateTime64", "Decimal32",
    "Decimal64", "Decimal128", "UUID", "IPv4", "IPv6", "Time", "Time64",
]  # fmt: skip
_UNITS = (
    "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour", "Day", "Week", "Month",
    "Quarter", "Year",
)  # fmt: skip
_STARTS = ("FiveMinutes", "TenMinutes", "FifteenMinutes", "Interval", "ISOYear")
_AGGREGATES = """
any anyHeavy anyLast argMax argMin avg avgWeighted boundingRatio corr corrStable count covarPop
covarSamp deltaSum deltaSumTimestamp entropy exponentialMovingAverage exponentialTimeDecayedAvg
exponentialTimeDecayedCount exponentialTimeDecayedMax exponentialTimeDecayedSum groupArray
groupArrayLast groupArrayMovingAvg groupArrayMovingSum groupArraySample groupArraySorted groupBitAnd
groupBitOr groupBitXor groupConcat groupUniqArray histogram kurtPop kurtSamp
largestTriangleThreeBuckets max maxIntersections maxIntersectionsPosition min maxMappedArrays
minMappedArrays sumMappedArrays nonNegativeDerivative simpleLinearRegression singleValueOrNull
skewPop skewSamp sparkbar stddevPop stddevPopStable stddevSamp stddevSampStable sum sumCount
sumKahan sumWithOverflow topK topKWeighted uniq uniqCombined uniqCombined64 uniqExact uniqHLL12
uniqUpTo varPop varPopStable varSamp varSampStable
cume_dist denseRank lag lagInFrame lead leadInFrame nth_value ntile percentRank rank row_number
any_respect_nulls anyLast_respect_nulls
"""
_QUANTILES = (
    "", "Deterministic", "Exact", "ExactExclusive", "ExactHigh", "ExactInclusive", "ExactLow",
    "ExactWeighted", "InterpolatedWeighted", "TDigest", "TDigestWeighted", "Timing",
    "TimingWeighted", "DD", "GK",
)  # fmt: skip
COMBINATORS = (
    "If",
    "Array",
    "Distinct",
    "OrNull",
    "OrDefault",
    "ArgMin",
    "ArgMax",
    "ForEach",
    "Map",
)
"""What may follow an aggregate's name; not State and Merge, whose states could be made up."""
WITH_TABLE = frozenset({"in", "notIn", "nullIn", "notNullIn", "globalIn", "globalNotIn"})
"""Functions whose second argument is a table where it is a bare name."""
SCANS = frozenset({"has", "hasAll", "hasAny", "hasSubstr", "indexOf", "countEqual"})
"""Functions that look at a whole array for each value; of two made ones they might never end."""
TYPE_LAST = "JSONExtract", "JSONExtractKeysAndValues"
WITH_TYPE = frozenset(
    {"CAST", "accurateCast", "accurateCastOrNull", "accurateCastOrDefault", *TYPE_LAST}
)
"""Functions that take a type as text, which is checked as well."""


PARSED = ("lambda", "exists", "untuple", "grouping")
"""What the parser or the analyzer makes something of, and no function has."""


def _scalars() -> Iterator[str]:
    yield from _PLAIN.split()
    yield from (f"to{t}{how}" for t, how in product(_TYPES, ("", "OrNull", "OrZero", "OrDefault")))
    yield from (f"toInterval{unit}" for unit in _UNITS)
    yield from (f"toStartOf{unit}" for unit in (*_UNITS, *_STARTS))
    yield from (f"{verb}{unit}s" for verb, unit in product(("add", "subtract"), _UNITS))
    yield from (f"toRelative{unit}Num" for unit in _UNITS[3:])
    best = "parseDateTimeBestEffort", "parseDateTime64BestEffort", "parseDateTime32BestEffort"
    yield from (f"{name}{how}" for name, how in product(best, ("", "OrNull", "OrZero")))


SCALARS = frozenset(_scalars())
AGGREGATES = frozenset(_AGGREGATES.split()) | {
    f"quantile{many}{kind}" for many, kind in product(("", "s"), _QUANTILES)
}


class Functions:
    """Tells by which names allowed functions may be called.

    ``rows`` are the engine's ``system.functions``: name, is_aggregate, case_insensitive, alias_to,
    origin. A function that somebody made is none of them, whatever it is called.
    """

    def __init__(self, rows: Iterable[tuple[str, bool, bool, str, str]]) -> None:
        self._exact: dict[str, str] = {}
        self._folded: dict[str, str] = {}
        self._aggregates: set[str] = set()
        self._closed: set[str] = set()
        for name, is_aggregate, is_folded, alias_to, origin in rows:
            told = alias_to or name
            if origin != "System" or told not in (AGGREGATES if is_aggregate else SCALARS):
                self._closed.add(name)
                if is_folded:
                    self._closed.add(name.lower())
                continue
            self._exact[name] = told
            if is_folded:
                self._folded[name.lower()] = told
            if is_aggregate:
                self._aggregates.add(told)
        self._exact.update({name: name for name in PARSED})

    def known(self, name: str) -> str | None:
        """Return the function's own name where it may be called, None where it may not."""
        if name in self._closed or name.lower() in self._closed:
            return None
        found = self._named(name)
        return found if found is not None else self._combined(name)

    def names(self) -> frozenset[str]:
        """Return every name by which something may be called, without combinators."""
        return frozenset(self._exact)

    def _named(self, name: str) -> str | None:
        return self._exact.get(name) or self._folded.get(name.lower())

    def _combined(self, name: str) -> str | None:
        for ending in COMBINATORS:
            if name.endswith(ending):
                base = name.removesuffix(ending)
                found = self._named(base)
                if found in self._aggregates:
                    return found
                if (found := self._combined(base)) is not None:
                    return found
        return None
