-- What each night brought, by survey and band.
--   duckdb -readonly lake/catalog.duckdb < examples/nights.sql
--   finkbridge sql -f examples/nights.sql
SELECT
    survey,
    night,
    band,
    count(*) AS alerts,
    count(DISTINCT object_id) AS objects,
    round(min(mag), 2) AS brightest,
    round(median(mag), 2) AS median_mag,
    sum(deliveries) AS deliveries
FROM alerts
GROUP BY survey, night, band
ORDER BY survey, night, band;
