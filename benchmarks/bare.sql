-- The tables by the rules of consent scope `any`, from JSON lines with keys spelled as in the
-- 2023 data. Apart from times, values have the right type.

-- What is there but is no number becomes NaN, which is no time. E-mails of printable ASCII, as most
-- are, take the short way.
CREATE MACRO number(value) AS
    CASE WHEN value ~ '.*\S.*' THEN coalesce(try_cast(value AS DOUBLE), 'nan') END;
CREATE MACRO is_time(number) AS number = floor(number)
    AND number BETWEEN 946684800000 AND getvariable('landed_at') + 86400000;
CREATE MACRO person(email) AS
    CASE WHEN email ~ '[!-~]+' THEN lower(email) ELSE nullif(regexp_replace(
        nfc_normalize(lower(nfc_normalize(regexp_replace(email, '\p{Cf}', '', 'g')))),
        '^[\t-\r\x1c- \x{85}\p{Z}]+|[\t-\r\x1c- \x{85}\p{Z}]+$', '', 'g'), '') END;
CREATE MACRO pseudonym(email) AS
    sha256(getvariable('outer_key') || sha256(getvariable('inner_key') || email))[:32];

-- The times of customers are read as text: one that is no time suspends its person, an absent one
-- does not.
CREATE TEMP TABLE customers AS
SELECT *, coalesce(list_bool_and(
    list_transform(list_value(*COLUMNS('.*Date')), lambda moment: is_time(moment))), true
) AS readable
FROM (
    SELECT person(email) AS email, serialnumber, birthday, customername, phone,
        number(COLUMNS('(registration|lastUpdate)Date')),
        nullif(number(COLUMNS('share.*Date')), 0)
    FROM read_json(
        getvariable('landing') || '/customer/landing/*.json', format = 'newline_delimited',
        hive_partitioning = false, columns = {
            serialNumber: 'VARCHAR', birthDay: 'VARCHAR', customerName: 'VARCHAR',
            email: 'VARCHAR', phone: 'VARCHAR', registrationDate: 'VARCHAR',
            lastUpdateDate: 'VARCHAR', shareWithPublicAsOfDate: 'VARCHAR',
            shareWithResearchAsOfDate: 'VARCHAR', shareWithFriendsAsOfDate: 'VARCHAR'
        })
)
WHERE email IS NOT NULL;

CREATE TABLE customer_landing AS
SELECT email, serialnumber, birthday, customername, phone, COLUMNS('.*Date')::BIGINT
FROM customers WHERE readable;

-- A reading is left out where its time is none; what has another type than it should reads as null.
CREATE TABLE accelerometer_landing AS
SELECT person("user") AS "user", serialNumber AS serialnumber,
    "timestamp"::BIGINT AS "timestamp", x, y, z
FROM read_json(
    getvariable('landing') || '/accelerometer/landing/*.json', format = 'newline_delimited',
    hive_partitioning = false, ignore_errors = true, columns = {
        user: 'VARCHAR', serialNumber: 'VARCHAR', timestamp: 'DOUBLE',
        x: 'DOUBLE', y: 'DOUBLE', z: 'DOUBLE'
    })
WHERE is_time("timestamp") AND coalesce("user", serialnumber) IS NOT NULL;

CREATE TABLE step_trainer_landing AS
SELECT sensorreadingtime::BIGINT AS sensorreadingtime, serialnumber, distancefromobject
FROM read_json(
    getvariable('landing') || '/step_trainer/landing/*.json', format = 'newline_delimited',
    hive_partitioning = false, ignore_errors = true, columns = {
        sensorReadingTime: 'DOUBLE', serialNumber: 'VARCHAR', distanceFromObject: 'DOUBLE'
    })
WHERE is_time(sensorreadingtime) AND serialnumber <> '';

-- A reading without a user belongs to whoever alone claims its serial number.
CREATE TEMP TABLE sole_claims AS
SELECT serialnumber, min(email) AS email FROM customer_landing WHERE serialnumber IS NOT NULL
GROUP BY serialnumber HAVING min(email) = max(email);

CREATE TEMP VIEW readings AS
SELECT coalesce("user", email) AS "user", "timestamp", x, y, z,
    CASE WHEN "user" IS NULL THEN serialnumber END AS serialnumber
FROM accelerometer_landing LEFT JOIN sole_claims USING (serialnumber)
WHERE coalesce("user", email) IS NOT NULL;

CREATE TABLE customer_trusted AS
SELECT * EXCLUDE (place) FROM (
    SELECT *, row_number() OVER (
        PARTITION BY email
        ORDER BY coalesce(lastupdatedate, registrationdate, getvariable('landed_at')) DESC,
            registrationdate DESC NULLS LAST,
            sharewithresearchasofdate IS NOT NULL,
            serialnumber, sharewithpublicasofdate, birthday, sharewithresearchasofdate,
            customername, lastupdatedate, phone, sharewithfriendsasofdate
    ) AS place
    FROM customer_landing
)
ANTI JOIN (SELECT email FROM customers WHERE NOT readable) USING (email)
WHERE place = 1 AND sharewithresearchasofdate IS NOT NULL;

CREATE TABLE accelerometer_trusted AS
SELECT * FROM readings SEMI JOIN customer_trusted ON "user" = email;

CREATE TABLE customers_curated AS
SELECT * FROM customer_trusted SEMI JOIN accelerometer_trusted ON email = "user";

CREATE TEMP TABLE times AS
SELECT DISTINCT serialnumber, sensorreadingtime AS moment FROM step_trainer_landing;

CREATE TABLE device_matches AS
WITH users AS (
    SELECT DISTINCT "user", "timestamp" AS moment FROM readings
)
SELECT serialnumber, "user", count(*) AS matched
FROM times JOIN users USING (moment) GROUP BY ALL;

CREATE TABLE device_ownership AS
WITH devices AS (
    SELECT serialnumber, count(*) AS readings FROM times GROUP BY serialnumber
), matches AS (
    SELECT serialnumber, "user" AS email, matched FROM device_matches
), candidates AS (
    SELECT serialnumber, email, coalesce(matched, 0) AS matched, sole
    FROM matches
    FULL JOIN (SELECT *, true AS sole FROM sole_claims) USING (serialnumber, email)
), judged AS (
    SELECT *, matched >= 5 AND matched > others AND matched * 10 >= readings * 9 AS shared
    FROM devices JOIN (
        SELECT *, coalesce(max(matched) OVER (
            PARTITION BY serialnumber
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW
        ), 0) AS others FROM candidates
    ) USING (serialnumber)
)
SELECT serialnumber, email, readings, matched, others AS runner_up_matched,
    CASE WHEN shared THEN 'shared_readings' ELSE 'sole_claim' END AS basis
FROM judged WHERE shared OR (sole AND others < 5);

CREATE TABLE step_trainer_trusted AS
WITH owners AS (
    SELECT serialnumber, email
    FROM device_ownership SEMI JOIN customers_curated USING (email)
), owned AS (
    SELECT * FROM step_trainer_landing JOIN owners USING (serialnumber)
), without_owner AS (
    SELECT * FROM owned
    ANTI JOIN readings ON email = "user" AND sensorreadingtime = "timestamp"
), of_others AS (
    SELECT * FROM without_owner SEMI JOIN readings ON sensorreadingtime = "timestamp"
)
SELECT * EXCLUDE (email) FROM owned
ANTI JOIN of_others USING (serialnumber, sensorreadingtime);

CREATE TABLE machine_learning_curated AS
WITH owners AS (
    SELECT serialnumber, email, pseudonym(email) AS subject_id
    FROM device_ownership SEMI JOIN customers_curated USING (email)
)
SELECT subject_id, sensorreadingtime, distancefromobject, x, y, z
FROM step_trainer_trusted JOIN owners USING (serialnumber)
JOIN accelerometer_trusted ON email = "user" AND sensorreadingtime = "timestamp";
