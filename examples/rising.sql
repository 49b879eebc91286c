-- Objects that grew brighter by more than 0.3 mag between their first and last alert in one band.
--   duckdb -readonly lake/catalog.duckdb < examples/rising.sql
--   finkbridge sql -f examples/rising.sql
WITH ends AS (
    SELECT
        object_id,
        band,
        count(*) AS alerts,
        min(mjd) AS first_mjd,
        max(mjd) AS last_mjd,
        arg_min(mag, mjd) AS first_mag,
        arg_max(mag, mjd) AS last_mag
    FROM alerts
    WHERE is_positive
    GROUP BY object_id, band
)
SELECT
    object_id,
    band,
    alerts,
    round(last_mjd - first_mjd, 2) AS days,
    round(first_mag, 2) AS first_mag,
    round(last_mag, 2) AS last_mag
FROM ends
WHERE alerts > 1 AND first_mag - last_mag > 0.3
ORDER BY first_mag - last_mag DESC
LIMIT 20;
