WITH "t3" AS (
  SELECT DISTINCT
    "t0"."serialnumber",
    "t0"."sensorreadingtime" AS "time"
  FROM "step_trainer_landing" AS "t0"
), "t12" AS (
  SELECT
    "t5"."serialnumber",
    MIN("t5"."email") AS "email",
    MAX("t5"."email") AS "other"
  FROM (
    SELECT
      "t1"."serialnumber",
      "t1"."person" AS "email"
    FROM "customer_landing" AS "t1"
    WHERE
      "t1"."serialnumber" IS NOT NULL
  ) AS "t5"
  GROUP BY
    1
), "t23" AS (
  SELECT
    "t22"."serialnumber",
    "t22"."user",
    COUNT(*) AS "matched"
  FROM (
    SELECT
      "t8"."serialnumber",
      "t8"."time",
      "t21"."user"
    FROM "t3" AS "t8"
    INNER JOIN (
      SELECT DISTINCT
        "t19"."user",
        "t19"."timestamp" AS "time"
      FROM (
        SELECT
          *
        FROM (
          SELECT
            "t2"."timestamp",
            "t2"."x",
            "t2"."y",
            "t2"."z",
            "t2"."serialnumber",
            "t2"."person" AS "user"
          FROM "accelerometer_landing" AS "t2"
          WHERE
            "t2"."person" IS NOT NULL
        ) AS "t6"
        UNION ALL
        SELECT
          *
        FROM (
          SELECT
            "t9"."timestamp",
            "t9"."x",
            "t9"."y",
            "t9"."z",
            "t9"."serialnumber",
            "t17"."claimant" AS "user"
          FROM (
            SELECT
              *
            FROM "accelerometer_landing" AS "t2"
            WHERE
              "t2"."person" IS NULL
          ) AS "t9"
          INNER JOIN (
            SELECT
              "t13"."serialnumber" AS "claimed",
              "t13"."email" AS "claimant"
            FROM "t12" AS "t13"
            WHERE
              "t13"."email" = "t13"."other"
          ) AS "t17"
            ON "t9"."serialnumber" = "t17"."claimed"
        ) AS "t18"
      ) AS "t19"
    ) AS "t21"
      ON "t8"."time" = "t21"."time"
  ) AS "t22"
  GROUP BY
    1,
    2
)
SELECT
  "t36"."serialnumber",
  CASE
    WHEN (
      "t36"."leader_matched" >= 5
    )
    AND (
      "t36"."leader_matched" > "t36"."second_matched"
    )
    AND (
      (
        "t36"."leader_matched" * 10
      ) >= (
        "t36"."readings" * 9
      )
    )
    THEN "t36"."leader"
    ELSE "t36"."claimant"
  END AS "email",
  CASE
    WHEN (
      "t36"."leader_matched" >= 5
    )
    AND (
      "t36"."leader_matched" > "t36"."second_matched"
    )
    AND (
      (
        "t36"."leader_matched" * 10
      ) >= (
        "t36"."readings" * 9
      )
    )
    THEN 'shared_readings'
    ELSE 'sole_claim'
  END AS "basis",
  "t36"."readings",
  CASE
    WHEN (
      "t36"."leader_matched" >= 5
    )
    AND (
      "t36"."leader_matched" > "t36"."second_matched"
    )
    AND (
      (
        "t36"."leader_matched" * 10
      ) >= (
        "t36"."readings" * 9
      )
    )
    THEN "t36"."leader_matched"
    ELSE "t36"."claimant_matched"
  END AS "matched",
  CASE
    WHEN (
      "t36"."leader_matched" >= 5
    )
    AND (
      "t36"."leader_matched" > "t36"."second_matched"
    )
    AND (
      (
        "t36"."leader_matched" * 10
      ) >= (
        "t36"."readings" * 9
      )
    )
    THEN "t36"."second_matched"
    ELSE CASE
      WHEN COALESCE("t36"."leader" = "t36"."claimant", FALSE)
      THEN "t36"."second_matched"
      ELSE "t36"."leader_matched"
    END
  END AS "runner_up_matched"
FROM (
  SELECT
    "t35"."serialnumber",
    "t35"."readings",
    "t35"."leader",
    COALESCE("t35"."leader_matched", 0) AS "leader_matched",
    COALESCE("t35"."second_matched", 0) AS "second_matched",
    "t35"."claimant",
    COALESCE("t35"."claimant_matched", 0) AS "claimant_matched"
  FROM (
    SELECT
      "t34".*
      EXCLUDE ("serialnumber_right")
    FROM (
      SELECT
        "t33"."serialnumber",
        "t33"."readings",
        "t33"."leader",
        "t33"."leader_matched",
        "t33"."second_matched",
        "t28"."serialnumber" AS "serialnumber_right",
        "t28"."claimant",
        "t28"."claimant_matched"
      FROM (
        SELECT
          "t31".*
          EXCLUDE ("serialnumber_right")
        FROM (
          SELECT
            "t11"."serialnumber",
            "t11"."readings",
            "t30"."serialnumber" AS "serialnumber_right",
            "t30"."leader",
            "t30"."leader_matched",
            "t30"."second_matched"
          FROM (
            SELECT
              "t4"."serialnumber",
              COUNT(*) AS "readings"
            FROM "t3" AS "t4"
            GROUP BY
              1
          ) AS "t11"
          LEFT OUTER JOIN (
            SELECT
              "t27"."serialnumber",
              MAX("t27"."user") FILTER(WHERE
                "t27"."place" = 0) AS "leader",
              MAX("t27"."matched") FILTER(WHERE
                "t27"."place" = 0) AS "leader_matched",
              MAX("t27"."matched") FILTER(WHERE
                "t27"."place" = 1) AS "second_matched"
            FROM (
              SELECT
                "t24"."serialnumber",
                "t24"."user",
                "t24"."matched",
                ROW_NUMBER() OVER (
                  PARTITION BY "t24"."serialnumber"
                  ORDER BY "t24"."matched" DESC, "t24"."user" ASC
                  ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
                ) - 1 AS "place"
              FROM "t23" AS "t24"
            ) AS "t27"
            GROUP BY
              1
          ) AS "t30"
            ON "t11"."serialnumber" = "t30"."serialnumber"
        ) AS "t31"
      ) AS "t33"
      LEFT OUTER JOIN (
        SELECT
          "t16"."serialnumber",
          "t16"."claimant",
          "t25"."matched" AS "claimant_matched"
        FROM (
          SELECT
            "t13"."serialnumber",
            "t13"."email" AS "claimant"
          FROM "t12" AS "t13"
          WHERE
            "t13"."email" = "t13"."other"
        ) AS "t16"
        LEFT OUTER JOIN "t23" AS "t25"
          ON "t16"."serialnumber" = "t25"."serialnumber" AND "t16"."claimant" = "t25"."user"
      ) AS "t28"
        ON "t33"."serialnumber" = "t28"."serialnumber"
    ) AS "t34"
  ) AS "t35"
) AS "t36"
WHERE
  (
    (
      "t36"."leader_matched" >= 5
    )
    AND (
      "t36"."leader_matched" > "t36"."second_matched"
    )
    AND (
      (
        "t36"."leader_matched" * 10
      ) >= (
        "t36"."readings" * 9
      )
    )
  )
  OR (
    (
      "t36"."claimant" IS NOT NULL
    )
    AND (
      CASE
        WHEN COALESCE("t36"."leader" = "t36"."claimant", FALSE)
        THEN "t36"."second_matched"
        ELSE "t36"."leader_matched"
      END < 5
    )
  )
