WITH "t18" AS (
  SELECT
    "t9"."serialnumber",
    "t9"."email",
    "t11"."since"
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
  ) AS "t11"
    ON "t9"."email" = "t11"."email"
), "t29" AS (
  SELECT
    "t28"."user" AS "email",
    "t28"."timestamp" AS "sensorreadingtime"
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
    ) AS "t12"
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        "t16"."timestamp",
        "t16"."x",
        "t16"."y",
        "t16"."z",
        "t16"."serialnumber",
        "t23"."claimant" AS "user"
      FROM (
        SELECT
          *
        FROM "accelerometer_landing" AS "t3"
        WHERE
          "t3"."person" IS NULL
      ) AS "t16"
      INNER JOIN (
        SELECT
          "t17"."serialnumber" AS "claimed",
          "t17"."email" AS "claimant"
        FROM (
          SELECT
            "t14"."serialnumber",
            MIN("t14"."email") AS "email",
            MAX("t14"."email") AS "other"
          FROM (
            SELECT
              "t4"."serialnumber",
              "t4"."person" AS "email"
            FROM "customer_landing" AS "t4"
            WHERE
              "t4"."serialnumber" IS NOT NULL
          ) AS "t14"
          GROUP BY
            1
        ) AS "t17"
        WHERE
          "t17"."email" = "t17"."other"
      ) AS "t23"
        ON "t16"."serialnumber" = "t23"."claimed"
    ) AS "t26"
  ) AS "t28"
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
SEMI JOIN "t18" AS "t20"
  ON "t8"."serialnumber" = "t20"."serialnumber"
ANTI JOIN (
  SELECT
    "t27"."sensorreadingtime",
    "t27"."serialnumber",
    "t27"."distancefromobject",
    "t27"."email"
  FROM (
    SELECT
      "t24".*
      EXCLUDE ("since")
    FROM (
      SELECT
        "t8"."sensorreadingtime",
        "t8"."serialnumber",
        "t8"."distancefromobject",
        "t21"."email",
        "t21"."since"
      FROM (
        SELECT
          "t0"."sensorreadingtime",
          "t0"."serialnumber",
          "t0"."distancefromobject"
        FROM "step_trainer_landing" AS "t0"
      ) AS "t8"
      SEMI JOIN "t18" AS "t20"
        ON "t8"."serialnumber" = "t20"."serialnumber"
      INNER JOIN "t18" AS "t21"
        ON "t8"."serialnumber" = "t21"."serialnumber"
    ) AS "t24"
  ) AS "t27"
  SEMI JOIN (
    SELECT
      "t1"."serialnumber"
    FROM "device_ownership" AS "t1"
    WHERE
      "t1"."matched" < "t1"."readings"
  ) AS "t15"
    ON "t27"."serialnumber" = "t15"."serialnumber"
  ANTI JOIN "t29" AS "t31"
    ON "t27"."email" = "t31"."email"
    AND "t27"."sensorreadingtime" = "t31"."sensorreadingtime"
  SEMI JOIN "t29" AS "t32"
    ON "t27"."sensorreadingtime" = "t32"."sensorreadingtime"
) AS "t34"
  ON "t8"."serialnumber" = "t34"."serialnumber"
  AND "t8"."sensorreadingtime" = "t34"."sensorreadingtime"
