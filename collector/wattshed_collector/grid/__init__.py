"""What a kilowatt hour of the grid costs in carbon and money, by zone, and when that is least.

``series`` holds values over time, ``windows`` finds the cheapest time for a job, ``profile`` stands
in for a forecast, ``policies`` decide. All of these are pure.
"""
