WITH "t16" AS (
  SELECT
    "t9"."serialnumber",
    "t9"."email",
    "t10"."since"
  FROM (
    SELECT
      "t1"."serialnumber",
      "t1"."email"
    FROM "device_ownership" AS "t1"
  ) AS "t9"
  INNER JOIN (
    SELECT
      "t2"."email",
      "t2"."sharewithresearchasofdate" AS "since"
    FROM "customers_curated" AS "t2"
  ) AS "t10"
    ON "t9"."email" = "t10"."email"
), "t27" AS (
  SELECT
    "t26"."user" AS "email",
    "t26"."timestamp" AS "sensorreadingtime"
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t3"."timestamp",
        "t3"."x",
        "t3"."y",
        "t3"."z",
        "t3"."serialnumber",
        "t3"."person" AS "user"
      FROM "accelerometer_landing" AS "t3"
      WHERE
        "t3"."person" IS NOT NULL
    ) AS "t11"
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        "t14"."timestamp",
        "t14"."x",
        "t14"."y",
        "t14"."z",
        "t14"."serialnumber",
        "t21"."claimant" AS "user"
      FROM (
        SELECT
          *
        FROM "accelerometer_landing" AS "t3"
        WHERE
          "t3"."person" IS NULL
      ) AS "t14"
      INNER JOIN (
        SELECT
          "t15"."serialnumber" AS "claimed",
          "t15"."email" AS "claimant"
        FROM (
          SELECT
            "t13"."serialnumber",
            MIN("t13"."email") AS "email",
            MAX("t13"."email") AS "other"
          FROM (
            SELECT
              "t4"."serialnumber",
              "t4"."person" AS "email"
            FROM "customer_landing" AS "t4"
            WHERE
              "t4"."serialnumber" IS NOT NULL
          ) AS "t13"
          GROUP BY
            1
        ) AS "t15"
        WHERE
          "t15"."email" = "t15"."other"
      ) AS "t21"
        ON "t14"."serialnumber" = "t21"."claimed"
    ) AS "t24"
  ) AS "t26"
)
SELECT
  "t8"."sensorreadingtime",
  "t8"."serialnumber",
  "t8"."distancefromobject"
FROM (
  SELECT
    "t0"."sensorreadingtime",
    "t0"."serialnumber",
    "t0"."distancefromobject"
  FROM "step_trainer_landing" AS "t0"
) AS "t8"
SEMI JOIN "t16" AS "t18"
  ON "t8"."serialnumber" = "t18"."serialnumber"
ANTI JOIN (
  SELECT
    "t25"."sensorreadingtime",
    "t25"."serialnumber",
    "t25"."distancefromobject",
    "t25"."email"
  FROM (
    SELECT
      "t22".*
      EXCLUDE ("since")
    FROM (
      SELECT
        "t8"."sensorreadingtime",
        "t8"."serialnumber",
        "t8"."distancefromobject",
        "t19"."email",
        "t19"."since"
      FROM (
        SELECT
          "t0"."sensorreadingtime",
          "t0"."serialnumber",
          "t0"."distancefromobject"
        FROM "step_trainer_landing" AS "t0"
      ) AS "t8"
      SEMI JOIN "t16" AS "t18"
        ON "t8"."serialnumber" = "t18"."serialnumber"
      INNER JOIN "t16" AS "t19"
        ON "t8"."serialnumber" = "t19"."serialnumber"
    ) AS "t22"
  ) AS "t25"
  ANTI JOIN "t27" AS "t29"
    ON "t25"."email" = "t29"."email"
    AND "t25"."sensorreadingtime" = "t29"."sensorreadingtime"
  SEMI JOIN "t27" AS "t30"
    ON "t25"."sensorreadingtime" = "t30"."sensorreadingtime"
) AS "t32"
  ON "t8"."serialnumber" = "t32"."serialnumber"
  AND "t8"."sensorreadingtime" = "t32"."sensorreadingtime"
