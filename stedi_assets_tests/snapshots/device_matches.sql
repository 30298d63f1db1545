SELECT
  "t16"."serialnumber",
  "t16"."user",
  COUNT(*) AS "matched"
FROM (
  SELECT
    "t4"."serialnumber",
    "t4"."time",
    "t15"."user"
  FROM (
    SELECT DISTINCT
      "t0"."serialnumber",
      "t0"."sensorreadingtime" AS "time"
    FROM "step_trainer_landing" AS "t0"
  ) AS "t4"
  INNER JOIN (
    SELECT DISTINCT
      "t13"."user",
      "t13"."timestamp" AS "time"
    FROM (
      SELECT
        *
      FROM (
        SELECT
          "t1"."timestamp",
          "t1"."x",
          "t1"."y",
          "t1"."z",
          "t1"."serialnumber",
          "t1"."person" AS "user"
        FROM "accelerometer_landing" AS "t1"
        WHERE
          "t1"."person" IS NOT NULL
      ) AS "t5"
      UNION ALL
      SELECT
        *
      FROM (
        SELECT
          "t8"."timestamp",
          "t8"."x",
          "t8"."y",
          "t8"."z",
          "t8"."serialnumber",
          "t11"."claimant" AS "user"
        FROM (
          SELECT
            *
          FROM "accelerometer_landing" AS "t1"
          WHERE
            "t1"."person" IS NULL
        ) AS "t8"
        INNER JOIN (
          SELECT
            "t9"."serialnumber" AS "claimed",
            "t9"."email" AS "claimant"
          FROM (
            SELECT
              "t7"."serialnumber",
              MIN("t7"."email") AS "email",
              MAX("t7"."email") AS "other"
            FROM (
              SELECT
                "t2"."serialnumber",
                "t2"."person" AS "email"
              FROM "customer_landing" AS "t2"
              WHERE
                "t2"."serialnumber" IS NOT NULL
            ) AS "t7"
            GROUP BY
              1
          ) AS "t9"
          WHERE
            "t9"."email" = "t9"."other"
        ) AS "t11"
          ON "t8"."serialnumber" = "t11"."claimed"
      ) AS "t12"
    ) AS "t13"
  ) AS "t15"
    ON "t4"."time" = "t15"."time"
) AS "t16"
GROUP BY
  1,
  2
