"""Where and when work runs, and what a site adds to its joules: PUE, price and carbon intensity."""

from __future__ import annotations

from functools import partial

from wattshed_dashboards.model import Board, Color, Column, Kind, Link, Panel, Row, Step
from wattshed_dashboards.variables import where

from .charges import BY_CURRENCY, CURRENCY_NOTE, currencies, in_one_currency

_AT = where("site")
_KNOWN_AHEAD = f"t >= toStartOfHour(now()) AND method IN ('factor', 'hourly') AND {_AT}"
_SITES = f"FROM v_site_1h\nWHERE $__timeFilter(t) AND {_AT}"
_MADE = (
    "FROM v_outcome_1h AS o\n"
    "INNER JOIN v_hardware AS h ON h.site = o.site AND h.hardware = o.hardware\n"
    f"WHERE $__timeFilter(o.t) AND o.state = 'ok' AND {where(site='o.site', tier='h.tier')}"
)
_SERVED = f"{_MADE} AND o.outcome IN ('inference', 'request')"
_PAID_PER_KWH = "sum(cost) / nullIf(sumIf(joules, isNotNull(cost)) / 3.6e6, 0)"
_SITE_NAME = "if(site = '', 'no site', site)"
_TO_FLEET = Link("Its fleet", "wattshed-fleet", {"site": "site"})
_CARBON = "si:gCO2eq"
_HONEST = (
    "Location-based; sites without a factor, hours of their zone or a yearly value are left out: "
    "nothing is assumed for them. Embodied carbon is not in it."
)

_stat = partial(Panel, kind=Kind.STAT, width=3, height=4)

ANSWER = Row(
    "What do place and time add to a joule?",
    (
        _stat(
            "Device energy",
            "Joules that were charged at these sites in the range, without what their buildings "
            "add. Sum of v_site_1h.",
            unit="watth",
            color=Color.POWER,
            sql=f"SELECT sum(joules) / 3600 AS energy\n{_SITES}",
        ),
        _stat(
            "PUE, by energy",
            "Facility joules over joules of devices, where the site's PUE is known: a mean weighed "
            "by energy. From v_site_1h; the PUE is a factor that an operator says, not measured.",
            unit="none",
            decimals=2,
            no_value="no PUE",
            steps=(Step(None, Color.GOOD), Step(1.4, Color.WARN), Step(1.8, Color.BAD)),
            sql=f"""SELECT sum(facility_joules)
       / nullIf(sumIf(joules, isNotNull(facility_joules)), 0) AS pue
{_SITES}""",
        ),
        _stat(
            "Cost",
            "Joules of each hour times its mean price, by currency. The price is of metered "
            "energy, without the PUE; hours without a price are left out. From v_site_1h.",
            unit="short",
            decimals=2,
            no_value="no price",
            options=BY_CURRENCY,
            sql=f"""SELECT currency, sum(cost) AS paid
{_SITES} AND isNotNull(cost)
GROUP BY currency ORDER BY paid DESC LIMIT 3""",
        ),
        _stat(
            "Operating carbon",
            "Grams of CO2 equivalent: facility kilowatt hours (with the PUE) of an hour times the "
            f"grid's intensity over it. Sum of v_site_1h. {_HONEST}",
            unit=_CARBON,
            no_value="no intensity",
            sql=f"SELECT sum(carbon_g) AS carbon\n{_SITES}",
        ),
        _stat(
            "Carbon intensity",
            "Grams of CO2 equivalent for a kilowatt hour of what was really drawn: carbon over "
            f"facility energy, where both are known. From v_site_1h. {_HONEST}",
            unit="suffix: g/kWh",
            decimals=0,
            no_value="no intensity",
            sql=f"""SELECT sum(carbon_g)
       / nullIf(sumIf(facility_joules, isNotNull(carbon_g)) / 3.6e6, 0) AS intensity
{_SITES}""",
        ),
        _stat(
            "Edge request",
            "Joules charged over requests and inferences of hardware of tier edge. A ratio of sums "
            "of v_outcome_1h; requests differ, so compare like models in the table below.",
            unit="joule",
            color=Color.POWER,
            no_value="none",
            sql="SELECT sum(o.loaded_joules) / nullIf(sum(o.count), 0) AS each\n"
            f"{_SERVED} AND h.tier = 'edge'",
        ),
        _stat(
            "Central request",
            "The same of hardware of tier datacenter. From v_outcome_1h; the network between is "
            "not measured.",
            unit="joule",
            color=Color.POWER,
            no_value="none",
            sql="SELECT sum(o.loaded_joules) / nullIf(sum(o.count), 0) AS each\n"
            f"{_SERVED} AND h.tier = 'datacenter'",
        ),
        _stat(
            "Priced energy",
            "Data quality: the share of joules whose hour has a price at its site. What has none "
            "is in no cost on this board. From v_site_1h.",
            unit="percentunit",
            no_value="no energy",
            steps=(Step(None, Color.BAD), Step(0.9, Color.WARN), Step(0.999, Color.GOOD)),
            sql="SELECT sumIf(joules, isNotNull(cost)) / nullIf(sum(joules), 0) AS priced\n"
            f"{_SITES}",
        ),
    ),
)

TREND = Row(
    "When it was drawn, and what it was worth then",
    (
        Panel(
            "Power by site",
            "Joules charged at each site over the seconds of a step. Sum of v_site_1h by the hour.",
            Kind.TIME_SERIES,
            unit="watt",
            least=0,
            is_stacked=True,
            sql=f"""SELECT $__timeInterval(t) AS time, {_SITE_NAME} AS place,
       sum(joules) / greatest($__interval_s, 3600) AS Value
{_SITES}
GROUP BY time, place ORDER BY time, place""",
        ),
        Panel(
            "Price by site",
            "What a kilowatt hour cost at each site: cost over the energy that has a price. The "
            "price is the site's own, else that of every site, else of its zone. From v_site_1h.",
            Kind.TIME_SERIES,
            unit="none",
            no_value="no price",
            sql=f"""SELECT $__timeInterval(t) AS time, concat(site, ' ', currency, '/kWh') AS place,
       sum(cost) / nullIf(sum(joules), 0) * 3.6e6 AS Value
{_SITES} AND isNotNull(cost)
GROUP BY time, place ORDER BY time, place""",
        ),
        Panel(
            "Grid intensity by site",
            "Grams of CO2 equivalent for a kilowatt hour that hold at each site. From v_carbon_1h; "
            f"the table of sites names by which method. {_HONEST}",
            Kind.TIME_SERIES,
            unit="suffix: g/kWh",
            least=0,
            no_value="no intensity",
            sql=f"""SELECT $__timeInterval(t) AS time, site, avg(g_per_kwh) AS Value
FROM v_carbon_1h
WHERE $__timeFilter(t) AND {_AT} AND isNotNull(g_per_kwh)
GROUP BY time, site ORDER BY time, site""",
        ),
        Panel(
            "Energy per request by tier",
            "Joules charged over requests and inferences, per tier of the hardware that served "
            "them. A ratio of sums of v_outcome_1h, tiers from v_hardware.",
            Kind.TIME_SERIES,
            unit="joule",
            least=0,
            no_value="no requests",
            sql=f"""SELECT $__timeInterval(o.t) AS time, h.tier AS tier,
       sum(o.loaded_joules) / nullIf(sum(o.count), 0) AS Value
{_SERVED}
GROUP BY time, tier HAVING sum(o.count) > 0 ORDER BY time, tier""",
        ),
    ),
)

WHO = Row(
    "Where it is cheap and clean",
    (
        Panel(
            "Sites",
            "What each site drew, paid and emitted. paid_over_mean compares the price per joule "
            "that was really paid with the plain mean of the site's hours: below 1 the work runs "
            "when energy is cheap; clean_over_mean says the same of carbon. carbon_by is how the "
            "intensity is known (factor, hourly, yearly) and by whom, said when they said it last. "
            f"Sums of v_site_1h, means over its hours. {_HONEST}",
            Kind.TABLE,
            width=24,
            height=7,
            sorted_by="energy",
            columns={
                "place": Column("Site", link=_TO_FLEET),
                "site": Column(is_hidden=True),
                "energy": Column("Devices", unit="watth"),
                "facility": Column("With PUE", unit="watth"),
                "pue": Column("PUE", unit="none", decimals=2),
                "paid": Column("Cost", unit="short", decimals=2),
                "currency": Column("Currency"),
                "per_kwh": Column("Per kWh", unit="none", decimals=3),
                "paid_over_mean": Column("Paid over mean", unit="percentunit", decimals=0),
                "carbon": Column("Carbon", unit=_CARBON),
                "clean_over_mean": Column("Carbon over mean", unit="percentunit", decimals=0),
                "carbon_by": Column("Carbon by", width=260),
                "said": Column("Said", unit="dateTimeAsIso", width=160),
            },
            sql=f"""SELECT {_SITE_NAME} AS place, site, sum(j) / 3600 AS energy,
       sum(f) / 3600 AS facility, sum(f) / nullIf(sumIf(j, isNotNull(f)), 0) AS pue,
       arrayStringConcat(arraySort(groupUniqArrayArray(paid_in)), ' and ') AS currency,
       if(position(currency, ' ') = 0, sum(c), NULL) AS paid,
       paid / nullIf(sumIf(j, isNotNull(c)) / 3.6e6, 0) AS per_kwh,
       per_kwh / nullIf(avg(c / nullIf(j, 0)) * 3.6e6, 0) AS paid_over_mean, sum(g) AS carbon,
       carbon / nullIf(sumIf(f, isNotNull(g)) / 3.6e6, 0) / nullIf(avg(grid), 0) AS clean_over_mean,
       arrayStringConcat(arraySort(groupUniqArrayIf(how, isNotNull(g))), ', ') AS carbon_by,
       maxIf(told, isNotNull(g)) AS said
FROM (SELECT t, site, sum(joules) AS j, sum(facility_joules) AS f, sum(cost) AS c,
             groupUniqArrayIf(currency, isNotNull(cost)) AS paid_in, sum(carbon_g) AS g,
             any(concat(carbon_method, ': ', carbon_source)) AS how, any(carbon_said) AS told,
             any(carbon_g_per_kwh) AS grid
      {_SITES} GROUP BY t, site) GROUP BY site ORDER BY energy DESC LIMIT 100""",
        ),
        Panel(
            "Outcomes by tier and site",
            "What one outcome took, cost and emitted in each place: joules charged, money, and "
            "facility energy times the intensity of its hour, over what was made (of carbon: in "
            "hours with an intensity alone). A workload counts once for each kind of outcome: "
            "never add its rows. Sums of v_outcome_1h, "
            f"tiers from v_hardware, intensities from v_carbon_1h. {_HONEST}",
            Kind.TABLE,
            width=24,
            height=9,
            sorted_by="joules",
            columns={
                "tier": Column("Tier"),
                "site": Column("Site", link=_TO_FLEET),
                "hardware": Column("Hardware", width=180),
                "ai_model": Column("Model", width=140),
                "outcome": Column("Outcome"),
                "made": Column("Outcomes", unit="short"),
                "each": Column("Energy each", unit="joule"),
                "cost_of_1000": Column("Cost of 1,000", unit="none"),
                "currency": Column("Currency"),
                "carbon_each": Column("Carbon each", unit=_CARBON),
                "joules": Column("Energy", unit="joule"),
            },
            sql=f"""SELECT h.tier AS tier, o.site AS site, o.hardware AS hardware,
       o.ai_model AS ai_model, o.outcome AS outcome, sum(o.count) AS made,
       sum(o.loaded_joules) / nullIf(made, 0) AS each,
       if(uniqExactIf(o.currency, o.loaded_joules > 0) = 1,
          sum(o.cost) / nullIf(made, 0) * 1000, NULL) AS cost_of_1000,
       {currencies("o.")} AS currency,
       sum(o.facility_joules / 3.6e6 * c.value AS g) / sumIf(o.count, isNotNull(g)) AS carbon_each,
       sum(o.loaded_joules) AS joules
{
                _MADE.replace(
                    "WHERE",
                    '''LEFT JOIN (
    SELECT t, site, g_per_kwh AS value FROM v_carbon_1h
) AS c ON c.t = o.t AND c.site = o.site
WHERE''',
                )
            }
GROUP BY tier, site, hardware, ai_model, outcome ORDER BY joules DESC LIMIT 200""",
        ),
        Panel(
            "Hour of the day",
            "Mean power of each hour of the day (UTC) beside the mean price and intensity of that "
            "hour: load that could move goes where both are low. Power from v_site_1h, price as "
            f"cost over energy; an hour without a price or an intensity is in neither mean. "
            f"{CURRENCY_NOTE}",
            Kind.TABLE,
            width=12,
            height=9,
            columns={
                "hour_of_day": Column("Hour (UTC)", unit="none"),
                "power": Column("Power", unit="watt"),
                "per_kwh": Column("Paid per kWh", unit="none", decimals=3),
                "money": Column("Currency"),
                "intensity": Column("Intensity", unit="suffix: g/kWh", decimals=0),
            },
            sql=f"""SELECT toHour(t) AS hour_of_day, sum(joules) / 3600 / uniqExact(t) AS power,
       {in_one_currency(_PAID_PER_KWH)} AS per_kwh,
       {currencies()} AS money,
       sum(carbon_g) / nullIf(sumIf(facility_joules, isNotNull(carbon_g)) / 3.6e6, 0) AS intensity
{_SITES}
GROUP BY hour_of_day ORDER BY hour_of_day LIMIT 24""",
        ),
        Panel(
            "Power by hour of the day",
            "The same mean power as bars, so that the shape of the day is seen. From v_site_1h.",
            Kind.BAR_GAUGE,
            unit="watt",
            width=12,
            height=9,
            least=0,
            color=Color.POWER,
            sql=f"""SELECT leftPad(toString(toHour(t)), 2, '0') AS hour_of_day,
       sum(joules) / 3600 / uniqExact(t) AS power
{_SITES}
GROUP BY hour_of_day ORDER BY hour_of_day LIMIT 24""",
        ),
    ),
)

EXPECTED = Panel(
    "Expected intensity",
    "What a kilowatt hour is expected to emit at each site in the next two days, in grams of CO2 "
    "equivalent: what is known already (a factor of the site, hours of its zone, by v_carbon_1h), "
    "else the newest forecast of its zone (v_grid_forecast). `wattshed when` looks for the best "
    "window in it. Nothing where nobody says more than a yearly value.",
    Kind.TABLE,
    width=24,
    height=7,
    no_value="no forecast",
    columns={
        "site": Column("Site"),
        "begins": Column("Begins", unit="dateTimeAsIso", width=190),
        "intensity": Column("Intensity", unit="suffix: g/kWh", decimals=0),
        "known_by": Column("Known by"),
        "source": Column("Source"),
        "said": Column("Said", unit="dateTimeAsIso", width=190),
    },
    sql=f"""SELECT site, begins, grams AS intensity, known_by, source, said
FROM (
    SELECT site, t AS begins, g_per_kwh AS grams, method AS known_by, source, carbon_said AS said
    FROM v_carbon_1h WHERE {_KNOWN_AHEAD}
    UNION ALL
    SELECT z.site AS site, f.t AS begins, f.value AS grams, 'forecast' AS known_by,
           f.source AS source, f.said_ts AS said
    FROM v_grid_forecast AS f INNER JOIN (
        SELECT site, zone FROM v_site_zone WHERE until > now() AND {_AT}
    ) AS z ON z.zone = f.zone
    WHERE f.kind = 'carbon' AND isNotNull(f.value) AND f.end_ts > now()
      AND f.t < now() + INTERVAL 48 HOUR
      AND (z.site, toStartOfHour(f.t)) NOT IN (SELECT site, t FROM v_carbon_1h WHERE {_KNOWN_AHEAD})
)
ORDER BY begins, site LIMIT 500""",
)

DETAIL = Row(
    "Money and carbon over time",
    (
        EXPECTED,
        Panel(
            "Cost per hour by site",
            "Money for the energy of each step over its hours, in the site's currency. Sum of "
            "v_site_1h; without the PUE.",
            Kind.TIME_SERIES,
            unit="short",
            least=0,
            no_value="no price",
            sql=f"""SELECT $__timeInterval(t) AS time, concat(site, ' ', currency) AS place,
       sum(cost) * 3600 / greatest($__interval_s, 3600) AS Value
{_SITES} AND isNotNull(cost)
GROUP BY time, place ORDER BY time, place""",
        ),
        Panel(
            "Carbon per hour by site",
            "Grams of CO2 equivalent of each step over its hours. Sum of v_site_1h. " + _HONEST,
            Kind.TIME_SERIES,
            unit=_CARBON,
            least=0,
            no_value="no intensity",
            sql=f"""SELECT $__timeInterval(t) AS time, site,
       sum(carbon_g) * 3600 / greatest($__interval_s, 3600) AS Value
{_SITES} AND isNotNull(carbon_g)
GROUP BY time, site ORDER BY time, site""",
        ),
        Panel(
            "What holds at each site",
            "Every factor that held in the range: its value, unit and since when. A site without "
            "its own has that of every site. From v_factor; operators say them (POST /v1/factors).",
            Kind.TABLE,
            width=24,
            sorted_by="since",
            columns={
                "value": Column("Value", unit="none"),
                "since": Column("Since", unit="dateTimeAsIso", width=190),
                "until": Column("Until", unit="dateTimeAsIso"),
            },
            sql=f"""SELECT site, kind, value, unit, since, until, source
FROM v_factor
WHERE since <= $__toTime AND $__timeFrom(until) AND isNotNull(value) AND {_AT}
ORDER BY since DESC, site, kind LIMIT 500""",
        ),
    ),
    is_collapsed=True,
)

BOARD = Board(
    uid="wattshed-placement",
    title="Placement & carbon",
    question="Where and when does work run best: what do price, PUE and the grid add to it?",
    rows=(ANSWER, TREND, WHO, DETAIL),
    variables=("site", "tier"),
    window="7d",
    refresh="5m",
)
